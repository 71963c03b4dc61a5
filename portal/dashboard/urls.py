"""Every page outside sign-in and administration."""

from django.urls import path

from portal.dashboard.views import (
    console,
    earnings,
    explore,
    keys,
    listing,
    organisation,
    plans,
    refusals,
    remote,
    requests,
    status,
    studio,
    subscriptions,
    usage,
)

catalogue = [
    path("", explore.explore, name="explore"),
    path("status/", status.page, name="status"),
    path("demo/progress/", explore.demo_progress, name="demo_progress"),
    path("playground/refusal/", refusals.playground, name="playground_refusal"),
    path("listings/<slug:owner>/<slug:slug>/", listing.overview, name="listing"),
    path("listings/<slug:owner>/<slug:slug>/plans/", listing.plans, name="listing_plans"),
    path("listings/<slug:owner>/<slug:slug>/api/", listing.api, name="listing_api"),
    path("listings/<slug:owner>/<slug:slug>/versions/", listing.versions, name="listing_versions"),
    path("listings/<slug:owner>/<slug:slug>/performance/", listing.measured, name="listing_performance"),
    path("listings/<slug:owner>/<slug:slug>/subscribe/", subscriptions.subscribe, name="listing_subscribe"),
]
consumer = [
    path("console/", console.overview, name="console"),
    path("console/keys/", keys.keys, name="console_keys"),
    path("console/keys/<uuid:key_id>/limits/", keys.limits, name="console_key_limits"),
    path("console/keys/<uuid:key_id>/revoke/", keys.revoke, name="console_key_revoke"),
    path("console/subscriptions/", subscriptions.subscriptions, name="console_subscriptions"),
    path("console/subscriptions/<uuid:subscription_id>/cancel/", subscriptions.cancel, name="console_cancel"),
    path("console/subscriptions/<uuid:subscription_id>/limit/", subscriptions.limit, name="console_limit"),
    path("console/usage/", usage.usage, name="console_usage"),
    path("console/requests/", usage.requests, name="console_requests"),
    path("console/requests/<slug:request_id>/", requests.page, name="console_request"),
    path("console/invoice/", usage.invoice, name="console_invoice"),
]
provider = [
    path("studio/", studio.listings, name="studio"),
    path("studio/new/", studio.new, name="studio_new"),
    path("studio/earnings/", earnings.earnings, name="studio_earnings"),
    path("studio/listings/<slug:slug>/", studio.listing, name="studio_listing"),
    path("studio/listings/<slug:slug>/edit/", studio.edit, name="studio_edit"),
    path("studio/listings/<slug:slug>/upload/", studio.upload, name="studio_upload"),
    path("studio/listings/<slug:slug>/upload/refusal/", studio.upload_refusal, name="studio_upload_refusal"),
    path("studio/listings/<slug:slug>/endpoint/", remote.new, name="studio_remote"),
    path(
        "studio/listings/<slug:slug>/endpoint/trials/<uuid:trial_id>/",
        remote.trial,
        name="studio_remote_trial",
    ),
    path(
        "studio/listings/<slug:slug>/versions/<int:number>/endpoint-key/",
        remote.replace_key,
        name="studio_endpoint_key",
    ),
    path("studio/listings/<slug:slug>/versions/<int:number>/", studio.version, name="studio_version"),
    path(
        "studio/listings/<slug:slug>/versions/<int:number>/current/",
        studio.make_current,
        name="studio_make_current",
    ),
    path("studio/listings/<slug:slug>/plans/new/", plans.new, name="studio_plan_new"),
    path("studio/listings/<slug:slug>/plans/<slug:plan_slug>/", plans.revise, name="studio_plan"),
    path(
        "studio/listings/<slug:slug>/plans/<slug:plan_slug>/archive/",
        plans.archive,
        name="studio_plan_archive",
    ),
    path("studio/listings/<slug:slug>/publish/", studio.publish, name="studio_publish"),
    path("studio/listings/<slug:slug>/withdraw/", studio.withdraw, name="studio_withdraw"),
    path("studio/listings/<slug:slug>/visitors/", studio.visitors, name="studio_visitors"),
]
organisations = [
    path("organisation/", organisation.members, name="organisation"),
    path("organisation/new/", organisation.new, name="organisation_new"),
    path("organisation/invitations/", organisation.invited, name="organisation_invitations"),
    path("organisation/invitations/<uuid:invitation_id>/", organisation.answer, name="organisation_answer"),
    path(
        "organisation/invitations/<uuid:invitation_id>/retract/",
        organisation.retract,
        name="organisation_retract",
    ),
    path("organisation/switch/", organisation.switch, name="organisation_switch"),
    path(
        "organisation/members/<uuid:membership_id>/role/", organisation.change_role, name="organisation_role"
    ),
    path(
        "organisation/members/<uuid:membership_id>/remove/", organisation.remove, name="organisation_remove"
    ),
]
urlpatterns = [*catalogue, *consumer, *provider, *organisations]
