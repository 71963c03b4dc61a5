"""Plans of a listing."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import pricing
from marketplace.api import access
from marketplace.api.listings import LookOrSignIn
from marketplace.api.serializers import NewPlanSerializer, PlanSerializer, TermsSerializer
from marketplace.models import Listing, Plan
from portal.kit.errors import NotFound
from portal.kit.views import APIView


class PlanList(APIView):
    permission_classes = [LookOrSignIn]

    @extend_schema(operation_id="plans_list", responses=PlanSerializer(many=True))
    def get(self, request: Request, owner: str, slug: str) -> Response:
        """Oldest first. Others than the provider see those that take subscribers."""
        listing = access.visible(request, owner, slug)
        plans = listing.plans.filter(own_use=False).order_by("created_at")
        if not access.is_member(request, listing):
            plans = plans.filter(archived_at=None)
        return Response(PlanSerializer(plans, many=True).data)

    @extend_schema(operation_id="plans_create", request=NewPlanSerializer, responses={201: PlanSerializer})
    def post(self, request: Request, owner: str, slug: str) -> Response:
        listing = access.managed(request, owner, slug)
        given = NewPlanSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        told = given.validated_data
        plan = pricing.create_plan(
            listing,
            by=access.user_of(request),
            kind=told["kind"],
            name=told["name"],
            slug=told["slug"],
            **_terms(told["terms"]),
        )
        return Response(PlanSerializer(plan).data, status=201)


class PlanDetail(APIView):
    permission_classes = [LookOrSignIn]

    @extend_schema(operation_id="plans_retrieve", responses=PlanSerializer)
    def get(self, request: Request, owner: str, slug: str, plan: str) -> Response:
        return Response(PlanSerializer(find_plan(access.visible(request, owner, slug), plan)).data)

    @extend_schema(operation_id="plans_revise", request=TermsSerializer, responses=PlanSerializer)
    def put(self, request: Request, owner: str, slug: str, plan: str) -> Response:
        """Offer other terms from now on. Those who subscribed keep theirs."""
        found = find_plan(access.managed(request, owner, slug), plan)
        given = TermsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        pricing.revise_plan(found, by=access.user_of(request), **_terms(given.validated_data))
        return Response(PlanSerializer(found).data)

    @extend_schema(operation_id="plans_archive", responses=PlanSerializer)
    def delete(self, request: Request, owner: str, slug: str, plan: str) -> Response:
        """Take no new subscribers. Those who subscribed stay."""
        found = find_plan(access.managed(request, owner, slug), plan)
        pricing.archive_plan(found, by=access.user_of(request))
        return Response(PlanSerializer(found).data)


def find_plan(listing: Listing, slug: str) -> Plan:
    """Raises `NotFound`."""
    plan = listing.plans.filter(slug=slug, own_use=False).first()
    if plan is None:
        raise NotFound(what="plan")
    plan.listing = listing
    return plan


def _terms(told: Mapping[str, Any]) -> pricing.TermsFields:
    components = [pricing.Component(**component) for component in told["components"]]
    return {**told, "components": components}  # type: ignore[typeddict-item]
