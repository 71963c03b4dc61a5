"""Operators' view of the books. Facts are read here, never written."""

from django.contrib import admin
from django.db.models import Model, QuerySet, Sum
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from billing.models import (
    BillingPeriod,
    Lease,
    LeaseGrant,
    LedgerAccount,
    LedgerEntry,
    LedgerTransaction,
    RatedLine,
    UsageEvent,
    UsageRollup,
)
from portal.kit.money import Money


class Untouchable:
    """Nothing to add, change or delete."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class RatedLineInline(Untouchable, TabularInline):  # type: ignore[misc]
    model = RatedLine
    extra = 0


class GrantInline(Untouchable, TabularInline):  # type: ignore[misc]
    model = LeaseGrant
    extra = 0


class EntryInline(Untouchable, TabularInline):  # type: ignore[misc]
    model = LedgerEntry
    extra = 0


@admin.register(UsageEvent)
class UsageEventAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
    list_display = [
        "public_id", "finished_at", "organisation", "listing", "outcome", "input_tokens", "output_tokens", "cost",
        "latency_ms", "worker",
    ]  # fmt: skip
    list_filter = ["outcome", "endpoint", "streamed", "demo"]
    list_select_related = ["organisation", "listing__organisation"]
    search_fields = ["organisation__slug"]
    ordering = ["-id"]
    # Counting 50 million facts takes longer than reading a page of them.
    show_full_result_count = False

    @admin.display(description="cost")
    def cost(self, event: UsageEvent) -> str:
        return str(Money(event.charge, event.currency))


@admin.register(UsageRollup)
class UsageRollupAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
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
    show_full_result_count = False


@admin.register(BillingPeriod)
class BillingPeriodAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
    list_display = ["subscription", "starts", "ends", "gross", "commission"]
    list_select_related = ["subscription__organisation", "subscription__plan_version__plan"]
    search_fields = ["subscription__organisation__slug"]
    ordering = ["-starts"]
    inlines = [RatedLineInline]


@admin.register(Lease)
class LeaseAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
    list_display = ["id", "period", "opened_at", "closed_at", "run"]
    list_filter = ["closed_at"]
    ordering = ["-id"]
    inlines = [GrantInline]


@admin.register(LedgerAccount)
class LedgerAccountAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
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
class LedgerTransactionAdmin(Untouchable, ModelAdmin):  # type: ignore[misc]
    list_display = ["created_at", "kind", "key", "period", "reason"]
    list_filter = ["kind"]
    list_select_related = ["period"]
    search_fields = ["key"]
    ordering = ["-id"]
    show_full_result_count = False
    inlines = [EntryInline]
