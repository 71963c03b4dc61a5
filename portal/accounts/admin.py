"""Operators' view of identities."""

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline

from portal.accounts import api_keys
from portal.accounts.models import ApiKey, Membership, Organisation, User
from portal.kit import epochs
from portal.kit.admin import ReadOnly


class MembershipInline(TabularInline):  # type: ignore[misc]
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(User)
class UserAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["email", "name", "is_staff", "is_active", "date_joined"]
    list_filter = ["is_staff", "is_active"]
    search_fields = ["email", "name"]
    ordering = ["-date_joined"]
    fields = ["email", "name", "is_active", "is_staff", "is_superuser", "groups", "last_login", "date_joined"]
    readonly_fields = ["last_login", "date_joined"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        # Sign-up makes the personal organisation, without which a person can do nothing.
        return False


@admin.register(Organisation)
class OrganisationAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["slug", "name", "kind", "created_at", "standing"]
    list_filter = ["kind", "suspended_at"]
    search_fields = ["slug", "name"]
    ordering = ["-created_at"]
    readonly_fields = ["created_at", "personal_of"]
    fields = [
        "slug", "name", "kind", "suspended_at", "requests_per_minute", "tokens_per_minute", "concurrent_requests",
        "personal_of", "created_at",
    ]  # fmt: skip
    inlines = [MembershipInline]

    @admin.display(description="standing")
    def standing(self, organisation: Organisation) -> str:
        return format_html("suspended {}", organisation.suspended_at) if organisation.suspended_at else "good"

    def save_model(self, request: HttpRequest, obj: Organisation, form: object, change: bool) -> None:
        super().save_model(request, obj, form, change)
        epochs.bump("organisation", obj.pk)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ["name", "organisation", "scopes", "last_four", "created_at", "expires_at", "revoked_at"]
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
