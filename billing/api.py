"""The control API of the books: usage, requests, the draft invoice and earnings of the acting organisation."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins
from rest_framework.request import Request
from rest_framework.response import Response

from billing import budgets, earnings, invoicing, usage
from billing.models import UsageEvent
from billing.serializers import (
    DraftInvoiceSerializer,
    EarningsSerializer,
    RangeSerializer,
    RequestQuerySerializer,
    RequestSerializer,
    StandingSerializer,
    UsageQuerySerializer,
    UsageSerializer,
)
from portal.accounts import membership
from portal.accounts.auth import acting_organisation
from portal.accounts.models import ApiKey, Organisation, User
from portal.kit import clock
from portal.kit.api import KeysetPagination
from portal.kit.errors import NotFound
from portal.kit.serializers import QuerySerializer
from portal.kit.views import APIView, GenericViewSet


class UsageView(APIView):
    """What the organisation has used."""

    queries = {"GET": UsageQuerySerializer}

    @extend_schema(
        operation_id="usage_retrieve", parameters=[UsageQuerySerializer], responses=UsageSerializer
    )
    def get(self, request: Request) -> Response:
        organisation = _viewed(request)
        asked = _asked(UsageQuerySerializer(data=request.query_params))
        start, end = asked["start"], asked["end"]
        step = None if asked["step"] == "all" else asked["step"]
        answer = {
            "start": start,
            "end": end,
            "totals": usage.totals(organisation, start, end),
            "series": usage.series(organisation, start, end, by=asked["by"], step=step),
        }
        return Response(UsageSerializer(answer).data)


@extend_schema(parameters=[RequestQuerySerializer])
class RequestViewSet(mixins.ListModelMixin, GenericViewSet[UsageEvent]):
    """The organisation's calls, newest first."""

    serializer_class = RequestSerializer
    pagination_class = KeysetPagination
    queries = {"GET": RequestQuerySerializer}

    def get_queryset(self) -> QuerySet[UsageEvent]:
        if getattr(self, "swagger_fake_view", False):
            return UsageEvent.objects.none()
        asked = _asked(RequestQuerySerializer(data=self.request.query_params))
        return usage.requests(_viewed(self.request), usage.Filters(**asked))


class DraftInvoiceView(APIView):
    """What the organisation would owe if its running billing periods ended now."""

    @extend_schema(operation_id="invoices_draft", responses=DraftInvoiceSerializer)
    def get(self, request: Request) -> Response:
        return Response(DraftInvoiceSerializer(invoicing.draft(_viewed(request), clock.now())).data)


class EarningsView(APIView):
    """What the organisation has earned as a provider."""

    queries = {"GET": RangeSerializer}

    @extend_schema(
        operation_id="earnings_retrieve", parameters=[RangeSerializer], responses=EarningsSerializer
    )
    def get(self, request: Request) -> Response:
        organisation = _viewed(request)
        asked = _asked(RangeSerializer(data=request.query_params))
        return Response(EarningsSerializer(earnings.summary(organisation, asked["start"], asked["end"])).data)


class KeyBudgetsView(APIView):
    """How the budgets of one of the organisation's keys stand; none for a key without a budget."""

    @extend_schema(operation_id="keys_budgets", responses=StandingSerializer(many=True))
    def get(self, request: Request, key_id: UUID) -> Response:
        key = ApiKey.objects.filter(organisation=_viewed(request), pk=key_id).first()
        if key is None:
            raise NotFound(what="key")
        found: Any = budgets.standings([key], clock.now()).get(key.pk, [])
        return Response(StandingSerializer(found, many=True).data)


def _viewed(request: Request) -> Organisation:
    organisation = acting_organisation(request)
    assert isinstance(request.user, User)
    membership.require(request.user, organisation, "view")
    return organisation


def _asked(query: QuerySerializer) -> dict[str, Any]:
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)
