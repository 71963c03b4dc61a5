"""Signing up without telling which addresses have an account here.

An address that has one gets the same answer as a free one, after the same work; its owner gets a mail. So nobody is
signed in by signing up: with the address unproved, that alone would tell.
"""

from urllib.parse import urlencode

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.forms import SignupForm
from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.internal.userkit import filter_users_by_email
from allauth.account.models import EmailAddress
from django.contrib import messages
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from portal.accounts.models import User
from portal.kit import ratelimit
from portal.kit.ratelimit import Rate

MAIL = Rate(1, 180)


class SignUpForm(SignupForm):  # type: ignore[misc]
    """As allauth's; a taken address is no error."""

    def validate_unique_email(self, value: str) -> str:
        self.account_already_exists = bool(filter_users_by_email(value))
        return value

    def try_save(self, request: HttpRequest) -> tuple[User | None, HttpResponse | None]:
        email = self.cleaned_data["email"]
        user = None if self.account_already_exists else self._save_unless_taken(request)
        if user is None:
            # What storing the password would have taken.
            make_password(self.cleaned_data["password1"])
        self._send_mail(request, user, email)
        if app_settings.EMAIL_VERIFICATION == app_settings.EmailVerificationMethod.MANDATORY:
            return None, redirect("account_email_verification_sent")
        messages.info(
            request,
            _("If %(email)s was free, the account is made: sign in. If not, a mail says more.")
            % {"email": email},
        )
        following = request.POST.get("next", "")
        query = f"?{urlencode({'next': following})}" if following else ""
        return None, redirect(reverse("account_login") + query)

    def _save_unless_taken(self, request: HttpRequest) -> User | None:
        try:
            with transaction.atomic():
                saved: User = self.save(request)
        except IntegrityError:
            # Somebody was faster.
            return None
        return saved

    def _send_mail(self, request: HttpRequest, user: User | None, email: str) -> None:
        """One in either case, at most every few minutes to an address."""
        if app_settings.EMAIL_VERIFICATION != app_settings.EmailVerificationMethod.NONE:
            address = EmailAddress.objects.filter(user=user, email=email).first() if user else None
            send_verification_email_to_address(
                request, address or EmailAddress(user=None, email=email), signup=True
            )
        elif not ratelimit.take("sign-up-mail", email, MAIL):
            if user is None:
                get_adapter().send_account_already_exists_mail(email)
            else:
                address = request.build_absolute_uri(reverse("account_login"))
                get_adapter().send_mail("account/email/welcome", email, {"login_url": address})
