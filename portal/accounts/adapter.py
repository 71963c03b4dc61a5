"""Our part of allauth's account flow: a personal organisation for everyone, and passwords that are not guessed."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from portal.accounts import attempts, devices, membership
from portal.accounts.models import User
from portal.kit import addresses


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """What allauth asks us."""

    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": _(
            "Too many wrong passwords. Wait for some minutes, or use the link for a forgotten password: it works at once."
        ),
    }

    def save_user(self, request: HttpRequest, user: User, form: Any, commit: bool = True) -> User:
        """With a personal organisation, in the same transaction."""
        with transaction.atomic():
            saved: User = super().save_user(request, user, form, commit=commit)
            if commit:
                membership.open_personal(saved)
        return saved

    def get_client_ip(self, request: HttpRequest) -> str:
        return addresses.of(request)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        taken = attempts.begin(request, credentials.get("email", ""))
        if taken is None:
            raise self.validation_error("too_many_login_attempts")
        self._taken = taken

    def _rollback_login_failed_rl_usage(self) -> None:
        attempts.give_back(self._taken)

    def _delete_login_attempts_cached_email(self, request: HttpRequest, **credentials: Any) -> None:
        attempts.clear(request, credentials["email"])

    def post_login(self, request: HttpRequest, user: User, **facts: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **facts)
        devices.remember(request, response, facts.get("email") or user.email)
        return response

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Not for an address by which another account goes already."""
        others = User.objects.filter(email__iexact=email_address.email).exclude(pk=email_address.user_id)
        return not others.exists() and bool(super().confirm_email(request, email_address))
