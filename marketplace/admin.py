"""Operators' view of the shop. They read everything and take listings down; terms and releases never change."""

import json

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

from marketplace import publishing
from marketplace.models import (
    Listing,
    Plan,
    PlanVersion,
    PriceComponent,
    Subscription,
    Upload,
    UploadFile,
    Version,
    VersionFile,
)
from portal.accounts.models import User
from portal.kit.admin import ReadOnly, ask_reason, read_reason
from portal.kit.money import Money


class VersionInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = Version
    fields = ["number", "state", "architecture", "parameter_count", "created_at"]
    readonly_fields = fields
    ordering = ["-number"]


class PlanInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = Plan
    fields = ["slug", "name", "kind", "archived_at"]


@admin.register(Listing)
class ListingAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["path", "name", "task", "standing", "current_version", "published_at"]
    list_filter = ["task", "published_at", "withdrawn_at", "taken_down_at"]
    search_fields = ["slug", "name", "organisation__slug"]
    list_select_related = ["organisation", "current_version", "taken_down_by"]
    ordering = ["-id"]
    inlines = [VersionInline, PlanInline]
    actions = ["take_down", "restore"]

    @admin.display(description="standing")
    def standing(self, listing: Listing) -> str:
        reasons = {
            Listing.State.TAKEN_DOWN: f": {listing.taken_down_reason} ({listing.taken_down_by})",
            Listing.State.WITHDRAWN: f": {listing.withdrawn_reason}",
        }
        return Listing.State(listing.state).label + reasons.get(Listing.State(listing.state), "")

    @admin.action(description="Take down: stop all calls and hide it", permissions=["takedown"])
    def take_down(self, request: HttpRequest, listings: QuerySet[Listing]) -> HttpResponse | None:
        reason = read_reason(request)
        if reason is None:
            return ask_reason(self, request, listings, action="take_down", title="Take these listings down?")
        for listing in listings:
            publishing.take_down(listing, by=_operator(request), reason=reason)
        messages.success(request, f"{len(listings)} taken down.")
        return None

    @admin.action(description="Restore what was taken down", permissions=["takedown"])
    def restore(self, request: HttpRequest, listings: QuerySet[Listing]) -> None:
        for listing in listings.exclude(taken_down_at=None):
            publishing.restore(listing, by=_operator(request))
            messages.success(request, f"{listing.path} is {listing.state} again.")

    def has_takedown_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("marketplace.change_listing")


def _operator(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


class VersionFileInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = VersionFile
    fields = ["path", "size", "sha256"]


@admin.register(Version)
class VersionAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = [
        "listing",
        "number",
        "state",
        "architecture",
        "parameter_count",
        "memory_bytes",
        "created_at",
    ]
    list_filter = ["state", "task", "architecture"]
    search_fields = ["listing__slug", "listing__organisation__slug", "digest"]
    list_select_related = ["listing__organisation"]
    ordering = ["-id"]
    exclude = ["report", "evaluation", "training"]
    readonly_fields = ["found", "facts", "measured"]
    inlines = [VersionFileInline]

    @admin.display(description="findings")
    def found(self, version: Version) -> SafeString:
        lines = (
            f"{found['severity']}  {found['file']}  {found['rule']}: {found['message']} {found['remedy']}"
            for found in version.report.get("findings", [])
        )
        return format_html('<pre style="white-space: pre-wrap">{}</pre>', "\n".join(lines) or "none")

    @admin.display(description="facts")
    def facts(self, version: Version) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(version.report.get("facts"), indent=2))

    @admin.display(description="evaluation")
    def measured(self, version: Version) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(version.evaluation, indent=2))


class PlanVersionInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = PlanVersion
    ordering = ["-number"]


class ComponentInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = PriceComponent


@admin.register(Plan)
class PlanAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["listing", "slug", "name", "kind", "created_at", "archived_at"]
    list_filter = ["kind", "archived_at"]
    search_fields = ["slug", "name", "listing__slug", "listing__organisation__slug"]
    list_select_related = ["listing__organisation"]
    ordering = ["-id"]
    inlines = [PlanVersionInline]


@admin.register(PlanVersion)
class PlanVersionAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["plan", "number", "fee", "published_at"]
    search_fields = ["plan__slug", "plan__listing__slug"]
    list_select_related = ["plan"]
    ordering = ["-id"]
    inlines = [ComponentInline]

    @admin.display(description="monthly fee", ordering="monthly_fee")
    def fee(self, version: PlanVersion) -> str:
        return str(Money(version.monthly_fee, version.currency))


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["organisation", "listing", "plan_version", "cap", "started_at", "ended_at"]
    list_filter = ["ended_at", "plan_version__plan__kind"]
    search_fields = ["organisation__slug", "listing__slug", "listing__organisation__slug"]
    list_select_related = ["organisation", "listing__organisation", "plan_version__plan"]
    ordering = ["-id"]

    @admin.display(description="spend cap", ordering="spend_cap")
    def cap(self, subscription: Subscription) -> str:
        return str(Money(subscription.spend_cap, subscription.plan_version.currency))


class UploadFileInline(ReadOnly, TabularInline):  # type: ignore[misc]
    model = UploadFile
    show_change_link = False


@admin.register(Upload)
class UploadAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["id", "listing", "created_by", "created_at", "expires_at", "version"]
    list_select_related = ["listing__organisation", "created_by", "version"]
    ordering = ["-id"]
    inlines = [UploadFileInline]
