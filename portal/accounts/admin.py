"""Operators' view of identities."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin, TabularInline

from portal.accounts import api_keys, membership, suspension
from portal.accounts.models import ApiKey, Membership, Organisation, OrganisationQuota, User
from portal.kit import epochs
from portal.kit.admin import ReadOnly, ask_reason, read_reason


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


class QuotaInline(TabularInline):  # type: ignore[misc]
    """Empty: as the settings say for all; 0: no limit."""

    model = OrganisationQuota
    extra = 0


@admin.register(User)
class UserAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["email", "name", "is_staff", "is_active", "date_joined"]
    list_filter = ["is_staff", "is_active"]
    search_fields = ["email", "name"]
    ordering = ["-date_joined"]
    fields = [
        "email", "name", "is_active", "organisation_limit", "is_staff", "is_superuser", "groups", "last_login",
        "date_joined",
    ]  # fmt: skip
    readonly_fields = ["last_login", "date_joined"]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if "is_active" in form.changed_data:
            membership.set_active(obj, active=obj.is_active)

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Sign-up makes the personal organisation, without which a person can do nothing.
        return False


@admin.register(Organisation)
class OrganisationAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["slug", "name", "kind", "created_at", "standing"]
    list_filter = ["kind", "suspended_at"]
    actions = ["suspend", "lift"]
    search_fields = ["slug", "name"]
    ordering = ["-created_at"]
    readonly_fields = ["created_at", "personal_of", "suspended_at", "suspended_by", "suspended_reason"]
    fields = [
        "slug", "name", "kind", "suspended_at", "suspended_by", "suspended_reason", "requests_per_minute", "tokens_per_minute", "concurrent_requests",
        "personal_of", "created_at",
    ]  # fmt: skip
    inlines = [QuotaInline, MembershipInline]

    @admin.display(description="standing")
    def standing(self, organisation: Organisation) -> str:
        if organisation.suspended_at is None:
            return "good"
        return f"suspended {organisation.suspended_at:%Y-%m-%d}: {organisation.suspended_reason}"

    @admin.action(description="Suspend: stop all its calls and changes", permissions=["change"])
    def suspend(self, request: HttpRequest, organisations: QuerySet[Organisation]) -> HttpResponse | None:
        assert isinstance(request.user, User)
        reason = read_reason(request)
        if reason is None:
            return ask_reason(
                self, request, organisations, action="suspend", title="Suspend these organisations?"
            )
        for organisation in organisations:
            suspension.suspend(organisation, by=request.user, reason=reason)
        messages.success(request, f"{len(organisations)} suspended.")
        return None

    @admin.action(description="Lift the suspension", permissions=["change"])
    def lift(self, request: HttpRequest, organisations: QuerySet[Organisation]) -> None:
        assert isinstance(request.user, User)
        suspended = list(organisations.exclude(suspended_at=None))
        for organisation in suspended:
            suspension.lift(organisation, by=request.user)
        messages.success(request, f"{len(suspended)} may act again.")

    def save_model(self, request: HttpRequest, obj: Organisation, form: object, change: bool) -> None:
        super().save_model(request, obj, form, change)
        epochs.bump("organisation", obj.pk)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = [
        "name", "organisation", "holder", "scopes", "last_four", "created_at", "expires_at", "revoked_at",
    ]  # fmt: skip
    list_select_related = ["organisation", "holder"]
    search_fields = ["name", "organisation__slug", "last_four"]
    ordering = ["-created_at"]

    actions = ["revoke"]

    @admin.action(description="Revoke: stop them everywhere at once", permissions=["revoke"])
    def revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> None:
        assert isinstance(request.user, User)
        live = list(keys.filter(revoked_at=None).select_related("organisation"))
        for key in live:
            api_keys.revoke_as_operator(key, by=request.user)
        messages.success(request, f"{len(live)} revoked.")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("accounts.change_apikey")
