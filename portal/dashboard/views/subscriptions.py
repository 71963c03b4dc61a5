"""A consumer's subscriptions: taken, limited, cancelled."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from marketplace import subscribing
from marketplace.models import Subscription
from portal.accounts.models import Organisation
from portal.dashboard import finding
from portal.dashboard.acting import actor
from portal.kit import money
from portal.kit.errors import Invalid, NotFound
from portal.kit.exports import csv_of
from portal.kit.money import Money
from portal.kit.tables import Column, Table, containing


def _cap(subscription: Subscription) -> Money:
    return Money(subscription.spend_cap, subscription.plan_version.currency)


@login_required
def subscriptions(request: HttpRequest) -> HttpResponse:
    acting = actor(request)
    columns = [
        Column("listing.path", _("Listing"), sort="listing__name", template="console/cells/listing.html"),
        Column("plan_version.plan.name", _("Plan"), template="console/cells/plan.html"),
        Column("spend_cap", _("Usage limit a month"), template="console/cells/spend_cap.html", export=_cap),
        Column("started_at", _("Since"), kind="time", sort="started_at"),
        Column("ended_at", _("State"), template="console/cells/subscription_state.html", export="words"),
        Column("pk", "", template="console/cells/subscription_actions.html"),
    ]
    rows = Subscription.objects.filter(organisation=acting.organisation, own_use=False).select_related(
        "listing__organisation", "plan_version__plan"
    )
    table = Table(
        rows,
        columns,
        query=request.GET,
        order="-started_at",
        search=containing("listing__name", "listing__slug"),
    )
    if request.GET.get("format") == "csv":
        return csv_of(table, name="subscriptions")
    return render(request, "console/subscriptions.html", {"table": table, "may_buy": acting.may("buy")})


@login_required
@require_POST
def subscribe(request: HttpRequest, owner: str, slug: str) -> HttpResponse:
    """Take a plan, or change to it from another plan of the listing."""
    acting = actor(request, "buy")
    listing = finding.visible(owner, slug, to=acting.organisation)
    plan = listing.plans.filter(slug=request.POST.get("plan", "")).first()
    if plan is None:
        raise NotFound(what="plan")
    own = listing.subscriptions.filter(organisation=acting.organisation, ended_at=None, own_use=False).first()
    if own:
        subscribing.change_plan(own, plan, by=acting.user)
    else:
        subscribing.subscribe(acting.organisation, plan, by=acting.user)
    messages.success(
        request, _("Subscribed to %(plan)s. Make a key to call it, or try it here.") % {"plan": plan.name}
    )
    return redirect("listing", owner, slug)


@login_required
@require_POST
def cancel(request: HttpRequest, subscription_id: UUID) -> HttpResponse:
    acting = actor(request, "buy")
    subscription = _mine(acting.organisation, subscription_id)
    subscribing.cancel(subscription, by=acting.user)
    messages.success(
        request, _("The subscription to %(listing)s has ended.") % {"listing": subscription.listing.path}
    )
    return redirect("console_subscriptions")


@login_required
@require_POST
def limit(request: HttpRequest, subscription_id: UUID) -> HttpResponse:
    acting = actor(request, "buy")
    subscription = _mine(acting.organisation, subscription_id)
    try:
        cap = money.from_major(request.POST.get("spend_cap", ""), subscription.plan_version.currency)
    except (ValueError, ArithmeticError) as error:
        raise Invalid(reason=_("The limit must be an amount such as 25.00.")) from error
    subscribing.set_spend_cap(subscription, by=acting.user, spend_cap=cap.amount)
    messages.success(request, _("The new limit holds from the next call on."))
    return redirect("console_subscriptions")


def _mine(organisation: Organisation, subscription_id: UUID) -> Subscription:
    found = Subscription.objects.filter(organisation=organisation, pk=subscription_id, own_use=False)
    subscription = found.select_related("listing__organisation", "plan_version__plan", "organisation").first()
    if subscription is None:
        raise NotFound(what="subscription")
    return subscription
