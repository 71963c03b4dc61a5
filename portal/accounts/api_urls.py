"""Routes of the identities' control API."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from portal.accounts import api

router = SimpleRouter()
router.register("organisations", api.OrganisationViewSet, basename="organisation")
router.register("keys", api.ApiKeyViewSet, basename="key")

urlpatterns = [
    path("", include(router.urls)),
    path("organisations/<slug:slug>/members/", api.MemberList.as_view(), name="member-list"),
    path("organisations/<slug:slug>/invitations/", api.InvitationList.as_view(), name="invitation-list"),
    path(
        "organisations/<slug:slug>/invitations/<uuid:invitation_id>/",
        api.InvitationDetail.as_view(),
        name="invitation-detail",
    ),
    path(
        "organisations/<slug:slug>/members/<uuid:member_id>/",
        api.MemberDetail.as_view(),
        name="member-detail",
    ),
]
