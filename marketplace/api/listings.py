"""Listings and their versions."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import catalogue, publishing, subscribing
from marketplace.api import access
from marketplace.api.paging import ListingPagination
from marketplace.api.serializers import (
    CurrentVersionSerializer,
    ListingBriefSerializer,
    ListingChangeSerializer,
    ListingSerializer,
    OwnVersionSerializer,
    SearchSerializer,
    VersionSerializer,
    WithdrawalSerializer,
)
from marketplace.models import Listing, Version
from portal.accounts.auth import acting_organisation
from portal.kit.errors import NotFound
from portal.kit.keysets import Order
from portal.kit.views import APIView, GenericAPIView


class LookOrSignIn(BasePermission):
    """Anyone may look; changing needs an identity."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or bool(request.user and request.user.is_authenticated)


class ListingList(GenericAPIView[Listing]):
    permission_classes = [LookOrSignIn]
    pagination_class = ListingPagination
    serializer_class = ListingBriefSerializer
    queryset = Listing.objects.none()
    queries = {"GET": SearchSerializer}
    order: Order | None = None

    @extend_schema(
        operation_id="listings_list",
        parameters=[SearchSerializer],
        responses=ListingBriefSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """Search the catalogue, or list one's own."""
        asked = SearchSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        found, self.order = _search(request, **asked.validated_data)
        page = self.paginate_queryset(found)
        return self.get_paginated_response(ListingBriefSerializer(page, many=True).data)

    @extend_schema(
        operation_id="listings_create", request=ListingSerializer, responses={201: ListingSerializer}
    )
    def post(self, request: Request) -> Response:
        """Make a draft for the organisation that the caller acts for."""
        given = ListingSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        listing = publishing.create_listing(
            acting_organisation(request), by=access.user_of(request), **given.validated_data
        )
        return Response(ListingSerializer(listing).data, status=201)


def _search(
    request: Request, *, q: str, sort: catalogue.Sort, mine: bool, **filters: Any
) -> tuple[QuerySet[Listing], Order | None]:
    """What is asked for, and the keys of its order."""
    if not mine:
        return catalogue.search(q, catalogue.Filters(**filters), sort), catalogue.order_of(q, sort)
    if not request.user.is_authenticated:
        return Listing.objects.none(), catalogue.OWN
    return catalogue.owned(acting_organisation(request)).defer("card", "card_html"), catalogue.OWN


class ListingDetail(APIView):
    permission_classes = [LookOrSignIn]

    @extend_schema(operation_id="listings_retrieve", responses=ListingSerializer)
    def get(self, request: Request, owner: str, slug: str) -> Response:
        return Response(ListingSerializer(access.visible(request, owner, slug)).data)

    @extend_schema(
        operation_id="listings_change", request=ListingChangeSerializer, responses=ListingSerializer
    )
    def patch(self, request: Request, owner: str, slug: str) -> Response:
        listing = access.managed(request, owner, slug)
        given = ListingChangeSerializer(data=request.data, partial=True)
        given.is_valid(raise_exception=True)
        publishing.edit_listing(listing, by=access.user_of(request), **given.validated_data)
        return Response(ListingSerializer(listing).data)


class Publication(APIView):
    """Whether a listing is in the catalogue."""

    @extend_schema(operation_id="listings_publish", request=None, responses=ListingSerializer)
    def put(self, request: Request, owner: str, slug: str) -> Response:
        """Publish it; a withdrawn one comes back."""
        listing = access.managed(request, owner, slug)
        publishing.publish(listing, by=access.user_of(request))
        return Response(ListingSerializer(listing).data)


class Withdrawal(APIView):
    @extend_schema(
        operation_id="listings_withdraw", request=WithdrawalSerializer, responses=ListingSerializer
    )
    def put(self, request: Request, owner: str, slug: str) -> Response:
        """Stop all calls and hide it. Publishing undoes this."""
        listing = access.managed(request, owner, slug)
        given = WithdrawalSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        publishing.withdraw(listing, by=access.user_of(request), **given.validated_data)
        return Response(ListingSerializer(listing).data)


class Visitors(APIView):
    """Whether anonymous visitors may try the listing on its free plan."""

    @extend_schema(operation_id="listings_visitors_admit", request=None, responses=ListingSerializer)
    def put(self, request: Request, owner: str, slug: str) -> Response:
        listing = access.managed(request, owner, slug)
        subscribing.admit_visitors(listing, by=access.user_of(request))
        return Response(ListingSerializer(listing).data)

    @extend_schema(operation_id="listings_visitors_dismiss", responses=ListingSerializer)
    def delete(self, request: Request, owner: str, slug: str) -> Response:
        listing = access.managed(request, owner, slug)
        subscribing.dismiss_visitors(listing, by=access.user_of(request))
        return Response(ListingSerializer(listing).data)


class VersionList(APIView):
    permission_classes = [LookOrSignIn]

    @extend_schema(operation_id="versions_list", responses=VersionSerializer(many=True))
    def get(self, request: Request, owner: str, slug: str) -> Response:
        """Newest first. Others than the provider see those that are ready."""
        listing = access.visible(request, owner, slug)
        versions = listing.versions.order_by("-number")
        if not access.is_member(request, listing):
            versions = versions.filter(state=Version.State.READY)
        return Response(VersionSerializer(versions, many=True).data)


class VersionDetail(APIView):
    permission_classes = [LookOrSignIn]

    @extend_schema(operation_id="versions_retrieve", responses=OwnVersionSerializer)
    def get(self, request: Request, owner: str, slug: str, number: int) -> Response:
        """One version; its provider also gets its files and report."""
        listing = access.visible(request, owner, slug)
        version = find_version(listing, number)
        if access.is_member(request, listing):
            return Response(OwnVersionSerializer(version).data)
        if version.state != Version.State.READY:
            raise NotFound(what="version")
        return Response(VersionSerializer(version).data)


class CurrentVersion(APIView):
    @extend_schema(
        operation_id="versions_make_current", request=CurrentVersionSerializer, responses=ListingSerializer
    )
    def put(self, request: Request, owner: str, slug: str) -> Response:
        """Choose the version that calls of `owner/slug` reach."""
        listing = access.managed(request, owner, slug)
        given = CurrentVersionSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        version = find_version(listing, given.validated_data["number"])
        publishing.make_current(version, by=access.user_of(request))
        listing.current_version = version
        return Response(ListingSerializer(listing).data)


def find_version(listing: Listing, number: int) -> Version:
    """Raises `NotFound`."""
    version = listing.versions.filter(number=number).first()
    if version is None:
        raise NotFound(what="version")
    version.listing = listing
    return version
