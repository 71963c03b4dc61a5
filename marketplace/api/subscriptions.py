"""Subscriptions of the organisation that the caller acts for."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import subscribing
from marketplace.api import access
from marketplace.api.plans import find_plan
from marketplace.api.serializers import (
    NewSubscriptionSerializer,
    SubscriptionChangeSerializer,
    SubscriptionSerializer,
)
from marketplace.models import Subscription
from portal.accounts.auth import acting_organisation
from portal.kit.errors import NotFound
from portal.kit.views import APIView, GenericAPIView


def own(request: Request) -> QuerySet[Subscription]:
    """All of them, ended ones included."""
    mine = Subscription.objects.filter(organisation=acting_organisation(request), own_use=False)
    return mine.select_related("organisation", "listing__organisation", "plan_version__plan")


class SubscriptionList(GenericAPIView[Subscription]):
    serializer_class = SubscriptionSerializer
    queryset = Subscription.objects.none()

    @extend_schema(operation_id="subscriptions_list", responses=SubscriptionSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Newest first, ended ones included."""
        page = self.paginate_queryset(own(request).prefetch_related("plan_version__components"))
        return self.get_paginated_response(SubscriptionSerializer(page, many=True).data)

    @extend_schema(
        operation_id="subscriptions_create",
        request=NewSubscriptionSerializer,
        responses={201: SubscriptionSerializer},
    )
    def post(self, request: Request) -> Response:
        """Take a plan of a listing."""
        given = NewSubscriptionSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        owner, _, slug = given.validated_data["listing"].partition("/")
        plan = find_plan(access.visible(request, owner, slug), given.validated_data["plan"])
        subscription = subscribing.subscribe(
            acting_organisation(request),
            plan,
            by=access.user_of(request),
            spend_cap=given.validated_data["spend_cap"],
        )
        return Response(SubscriptionSerializer(subscription).data, status=201)


class SubscriptionDetail(APIView):
    @extend_schema(operation_id="subscriptions_retrieve", responses=SubscriptionSerializer)
    def get(self, request: Request, subscription_id: UUID) -> Response:
        return Response(SubscriptionSerializer(_find(request, subscription_id)).data)

    @extend_schema(
        operation_id="subscriptions_change",
        request=SubscriptionChangeSerializer,
        responses=SubscriptionSerializer,
    )
    def patch(self, request: Request, subscription_id: UUID) -> Response:
        """Set the spend cap, or take another plan: that ends this subscription and begins the one returned."""
        subscription = _find(request, subscription_id)
        given = SubscriptionChangeSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        cap, user = given.validated_data.get("spend_cap"), access.user_of(request)
        if "plan" in given.validated_data:
            plan = find_plan(subscription.listing, given.validated_data["plan"])
            subscription = subscribing.change_plan(subscription, plan, by=user, spend_cap=cap)
        else:
            subscribing.set_spend_cap(subscription, by=user, spend_cap=cap)
        return Response(SubscriptionSerializer(subscription).data)

    @extend_schema(operation_id="subscriptions_cancel", responses=SubscriptionSerializer)
    def delete(self, request: Request, subscription_id: UUID) -> Response:
        """End it now."""
        subscription = _find(request, subscription_id)
        subscribing.cancel(subscription, by=access.user_of(request))
        return Response(SubscriptionSerializer(subscription).data)


def _find(request: Request, subscription_id: UUID) -> Subscription:
    subscription = own(request).filter(pk=subscription_id).first()
    if subscription is None:
        raise NotFound(what="subscription")
    return subscription
