"""Operators' view of the books. Facts are read here, never written."""

from collections.abc import Callable

from django.contrib import admin, messages
from django.db.models import QuerySet, Sum
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from billing import holding
from billing.errors import AlreadyDecided, ChargeReversed
from billing.models import (
    BillingPeriod,
    BudgetLease,
    HeldEarning,
    KeyDay,
    Lease,
    LeaseGrant,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    RatedLine,
    UsageEvent,
    UsageRollup,
)
from portal.accounts.models import User
from portal.kit import ids
from portal.kit.admin import ReadOnly
from portal.kit.money import Money


class RatedLineInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = RatedLine


class GrantInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = LeaseGrant


class EntryInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = LedgerEntry


@admin.register(UsageEvent)
class UsageEventAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = [
        "public_id", "finished_at", "organisation", "listing", "outcome", "input_tokens", "output_tokens", "cost",
        "latency_ms", "worker", "report",
    ]  # fmt: skip
    list_filter = ["outcome", "endpoint", "streamed", "demo"]
    list_select_related = ["organisation", "listing__organisation"]
    search_fields = ["organisation__slug"]
    ordering = ["-id"]

    @admin.display(description="cost")
    def cost(self, event: UsageEvent) -> str:
        return str(Money(event.charge, event.currency))


@admin.register(HeldEarning)
class HeldEarningAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = [
        "call", "created_at", "state", "listing", "organisation", "reported", "billed", "amount", "decided_by",
    ]  # fmt: skip
    list_filter = ["state"]
    list_select_related = ["organisation", "listing__organisation", "decided_by"]
    search_fields = ["provider__slug", "organisation__slug", "listing__slug"]
    ordering = ["-id"]
    actions = ["release", "reverse"]

    @admin.display(description="call")
    def call(self, held: HeldEarning) -> str:
        return ids.public("req", held.pk)

    @admin.display(description="reported, in and out")
    def reported(self, held: HeldEarning) -> str:
        report = held.report
        said = " and ".join(_tokens(report.get(name)) for name in ("input", "output"))
        return f"{said}; the answer was cut" if report.get("cut") else said

    @admin.display(description="billed, in and out")
    def billed(self, held: HeldEarning) -> str:
        return f"{_tokens(held.input_tokens)} and {_tokens(held.output_tokens)}"

    @admin.display(description="charge, provider's share")
    def amount(self, held: HeldEarning) -> str:
        return f"{Money(held.charge, held.currency)}, {Money(held.share, held.currency)}"

    @admin.action(description="Release to the provider", permissions=["decide"])
    def release(self, request: HttpRequest, chosen: QuerySet[HeldEarning]) -> None:
        self._decide(request, chosen, holding.release)

    @admin.action(description="Credit to the consumer", permissions=["decide"])
    def reverse(self, request: HttpRequest, chosen: QuerySet[HeldEarning]) -> None:
        self._decide(request, chosen, holding.reverse)

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("billing.change_heldearning")

    def _decide(
        self, request: HttpRequest, chosen: QuerySet[HeldEarning], decide: Callable[..., HeldEarning]
    ) -> None:
        assert isinstance(request.user, User)
        decided = 0
        for held in chosen:
            try:
                decide(held.pk, by=request.user)
            except (AlreadyDecided, ChargeReversed) as refusal:
                messages.error(request, f"{self.call(held)}: {refusal}")
            else:
                decided += 1
        messages.success(request, f"{decided} decided.")


@admin.register(UsageRollup)
class UsageRollupAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = [
        "hour",
        "organisation",
        "listing",
        "requests",
        "failed",
        "input_tokens",
        "output_tokens",
        "charge",
    ]
    list_select_related = ["organisation", "listing__organisation"]
    search_fields = ["organisation__slug", "listing__slug"]
    ordering = ["-hour"]


@admin.register(BillingPeriod)
class BillingPeriodAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["subscription", "starts", "ends", "gross", "commission"]
    list_select_related = ["subscription__organisation", "subscription__plan_version__plan"]
    search_fields = ["subscription__organisation__slug"]
    ordering = ["-starts"]
    inlines = [RatedLineInline]


@admin.register(Lease)
class LeaseAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["id", "period", "opened_at", "closed_at", "run"]
    list_filter = ["closed_at"]
    ordering = ["-id"]
    inlines = [GrantInline]


@admin.register(BudgetLease)
class BudgetLeaseAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["api_key", "span", "first_day", "granted", "forfeited", "opened_at", "closed_at"]
    list_filter = ["span", "closed_at"]
    list_select_related = ["api_key"]
    search_fields = ["api_key__name", "api_key__organisation__slug"]
    ordering = ["-id"]


@admin.register(KeyDay)
class KeyDayAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["day", "api_key", "charge"]
    list_select_related = ["api_key"]
    search_fields = ["api_key__name", "api_key__organisation__slug"]
    ordering = ["-day"]
    show_full_result_count = False


@admin.register(LedgerAccount)
class LedgerAccountAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["kind", "organisation", "currency", "balance"]
    list_filter = ["kind", "currency"]
    list_select_related = ["organisation"]
    search_fields = ["organisation__slug"]
    ordering = ["kind", "organisation__slug"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerAccount]:
        found: QuerySet[LedgerAccount] = super().get_queryset(request)
        return found.annotate(total=Sum("entries__amount"))

    @admin.display(description="balance")
    def balance(self, account: LedgerAccount) -> str:
        return str(Money(getattr(account, "total", None) or 0, account.currency))


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["created_at", "kind", "key", "period", "reason"]
    list_filter = ["kind"]
    list_select_related = ["period"]
    search_fields = ["key"]
    ordering = ["-id"]
    inlines = [EntryInline]


def _tokens(count: int | None) -> str:
    return "nothing" if count is None else f"{count:,}"
