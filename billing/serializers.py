"""The shapes of the books' control API."""

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field

from billing import budgets, earnings, invoicing, spans, usage
from billing.models import Outcome, UsageEvent
from portal.kit import clock, serializers
from portal.kit.money import Money

_DEFAULT_RANGE = timedelta(days=30)
_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)


class MoneySerializer(serializers.Serializer[Money]):
    """Exact money: an integer of micro-minor units, and the same in whole units as a decimal text."""

    amount = serializers.IntegerField(help_text="Micro-minor units: a dollar is 100000000.")
    currency = serializers.CharField()
    major = serializers.SerializerMethodField(help_text='Whole units, such as "0.15".')

    def get_major(self, money: Money) -> str:
        return f"{money.major():f}"


class StandingSerializer(serializers.Serializer[budgets.Standing]):
    """One budget of a key in the window that is open now."""

    span = serializers.ChoiceField(choices=["total", "day", "month"])
    allowed = MoneySerializer()
    spent = MoneySerializer(help_text="As recorded; calls that run are not in it.")
    left = MoneySerializer()
    ends = serializers.DateTimeField(allow_null=True, help_text="When the window ends; null for all time.")


class RangeSerializer(serializers.QuerySerializer):
    """Half-open [start, end), by default the last 30 days. Sums are kept by the hour, so either bound is moved to the
    next whole hour in UTC, and the answer says which bounds it used: spans that adjoin add up.
    """

    start = serializers.DateTimeField(required=False)
    end = serializers.DateTimeField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name, moment in attrs.items():
            if isinstance(moment, datetime) and moment < _EARLIEST:
                raise serializers.ValidationError({name: ["It must not lie before 1971."]})
        asked_end: datetime = attrs.get("end") or clock.now()
        end = spans.bound(asked_end)
        start: datetime = attrs.get("start") or end - _DEFAULT_RANGE
        if start >= asked_end:
            raise serializers.ValidationError({"start": ["It must lie before the end."]})
        return {**attrs, "start": spans.bound(start), "end": end}


class UsageQuerySerializer(RangeSerializer):
    by = serializers.ChoiceField(choices=["day", "model", "key"], default="day")
    step = serializers.ChoiceField(choices=["hour", "day", "month", "all"], default="day")


class TotalsSerializer(serializers.Serializer[usage.Totals]):
    requests = serializers.IntegerField(help_text="Answered calls.")
    failed = serializers.IntegerField(help_text="Calls that failed and cost nothing.")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    images = serializers.IntegerField()
    compute_ms = serializers.IntegerField()
    charge = MoneySerializer()


class PointSerializer(serializers.Serializer[usage.Point]):
    at = serializers.DateTimeField(allow_null=True)
    group = serializers.CharField(help_text="owner/slug, a key's name, or empty.")
    group_id = serializers.UUIDField(allow_null=True)
    totals = TotalsSerializer()


class UsageSerializer(serializers.Serializer[dict[str, Any]]):
    start = serializers.DateTimeField(help_text="The bounds used: whole hours.")
    end = serializers.DateTimeField()
    totals = TotalsSerializer()
    series = PointSerializer(many=True)


class ReportSerializer(serializers.Serializer[Any]):
    """What a provider's server said of a call, where it is more than passed through the marketplace bears out."""

    input = serializers.IntegerField(allow_null=True, help_text="Tokens; null if it did not say.")
    output = serializers.IntegerField(allow_null=True)
    reasoning = serializers.IntegerField()
    unseen = serializers.IntegerField(help_text="Reasoning that was billed and not shown.")
    cut = serializers.BooleanField(help_text="Whether the answer was longer than it may be, and cut.")
    held = serializers.BooleanField(help_text="Whether what the provider earns of it waits for the operator.")


class RequestSerializer(serializers.ModelSerializer[UsageEvent]):
    id = serializers.CharField(source="public_id")
    model = serializers.CharField(source="listing.path")
    version = serializers.IntegerField(source="version.number")
    key_id = serializers.UUIDField(source="api_key_id", allow_null=True)
    charge = serializers.SerializerMethodField()
    report = ReportSerializer(allow_null=True)
    reason = serializers.CharField(
        source="why", allow_null=True, help_text="Why there was no whole answer; null where there was one."
    )

    class Meta:
        model = UsageEvent
        fields: ClassVar[list[str]] = [
            "id", "finished_at", "model", "version", "key_id", "endpoint", "streamed", "outcome", "finish_reason", "reason",
            "input_tokens", "output_tokens", "cached_tokens", "images", "compute_ms", "ttft_ms", "latency_ms",
            "charge", "worker", "demo", "estimated", "report",
        ]  # fmt: skip

    @extend_schema_field(MoneySerializer)
    def get_charge(self, event: UsageEvent) -> dict[str, Any]:
        return dict(MoneySerializer(Money(event.charge, event.currency)).data)


class RequestQuerySerializer(serializers.QuerySerializer):
    """Which requests to list. `since` and `until` bound the time of admission, half-open, to the millisecond."""

    listing_id = serializers.UUIDField(required=False)
    key_id = serializers.UUIDField(required=False)
    outcome = serializers.ChoiceField(choices=Outcome.choices, required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class DraftLineSerializer(serializers.Serializer[invoicing.DraftLine]):
    meter = serializers.CharField(help_text='A meter, "fee" or "credit".')
    label = serializers.CharField()  # type: ignore[assignment]
    quantity = serializers.IntegerField()
    included = serializers.IntegerField()
    unit_price = MoneySerializer(allow_null=True)
    per = serializers.IntegerField()
    amount = MoneySerializer()


class DraftSectionSerializer(serializers.Serializer[invoicing.DraftSection]):
    subscription_id = serializers.UUIDField()
    listing = serializers.CharField()
    plan = serializers.CharField()
    starts = serializers.DateTimeField()
    ends = serializers.DateTimeField()
    lines = DraftLineSerializer(many=True)
    total = MoneySerializer()


class DraftInvoiceSerializer(serializers.Serializer[invoicing.DraftInvoice]):
    organisation = serializers.CharField(source="organisation.slug")
    at = serializers.DateTimeField()
    sections = DraftSectionSerializer(many=True)
    total = MoneySerializer()


class EarnedSerializer(serializers.Serializer[earnings.Earned]):
    requests = serializers.IntegerField()
    usage = MoneySerializer()
    fees = MoneySerializer()
    gross = MoneySerializer()
    commission = MoneySerializer()
    net = MoneySerializer()


class ListingEarnedSerializer(serializers.Serializer[earnings.ListingEarned]):
    listing_id = serializers.UUIDField()
    listing = serializers.CharField()
    earned = EarnedSerializer()


class EarnedPointSerializer(serializers.Serializer[earnings.EarnedPoint]):
    at = serializers.DateTimeField()
    earned = EarnedSerializer()


class EarningsSerializer(serializers.Serializer[earnings.Summary]):
    start = serializers.DateTimeField(help_text="The bounds used: whole hours.")
    end = serializers.DateTimeField()
    total = EarnedSerializer()
    listings = ListingEarnedSerializer(many=True)
    days = EarnedPointSerializer(many=True, source="steps")
    balance = MoneySerializer()
    held = MoneySerializer(
        help_text="Waits for the operator: servers reported more than passed through bears out."
    )
