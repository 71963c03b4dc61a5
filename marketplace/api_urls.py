"""Addresses of the shop's API, under /api/."""

from django.urls import include, path

from marketplace.api import endpoints, listings, plans, subscriptions, uploads

listing_urls = [
    path("", listings.ListingDetail.as_view()),
    path("publication/", listings.Publication.as_view()),
    path("withdrawal/", listings.Withdrawal.as_view()),
    path("visitors/", listings.Visitors.as_view()),
    path("current-version/", listings.CurrentVersion.as_view()),
    path("versions/", listings.VersionList.as_view()),
    path("versions/<int:number>/", listings.VersionDetail.as_view()),
    path("versions/<int:number>/endpoint-key/", endpoints.EndpointKey.as_view()),
    path("endpoints/", endpoints.EndpointList.as_view()),
    path("uploads/", uploads.UploadList.as_view()),
    path("uploads/check/", uploads.UploadCheck.as_view()),
    path("plans/", plans.PlanList.as_view()),
    path("plans/<slug:plan>/", plans.PlanDetail.as_view()),
]

urlpatterns = [
    path("listings/", listings.ListingList.as_view()),
    path("listings/<slug:owner>/<slug:slug>/", include(listing_urls)),
    path("uploads/<uuid:upload_id>/", uploads.UploadDetail.as_view()),
    path("uploads/<uuid:upload_id>/files/<path:path>", uploads.UploadedFile.as_view()),
    path("uploads/<uuid:upload_id>/complete/", uploads.Completion.as_view()),
    path("subscriptions/", subscriptions.SubscriptionList.as_view()),
    path("subscriptions/<uuid:subscription_id>/", subscriptions.SubscriptionDetail.as_view()),
]
