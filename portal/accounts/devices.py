"""Browsers in which somebody has signed in before. Guessing from elsewhere must not keep the owner out of them."""

import hashlib
import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

COOKIE = "known_device"
VALID_SECONDS = 180 * 86_400
_SALT = "mercato.device"
_MOST_ACCOUNTS = 4


def find(request: HttpRequest, email: str) -> str | None:
    """The device's id, if the account of this address has signed in with it."""
    device, accounts = _read(request)
    return device if _digest(email) in accounts else None


def remember(request: HttpRequest, response: HttpResponse, email: str) -> None:
    """From now on the account knows the device."""
    device, accounts = _read(request)
    known = [_digest(email), *(each for each in accounts if each != _digest(email))][:_MOST_ACCOUNTS]
    response.set_cookie(
        COOKIE, signing.dumps([device, known], salt=_SALT), max_age=VALID_SECONDS, httponly=True, samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )  # fmt: skip


def _read(request: HttpRequest) -> tuple[str, list[str]]:
    try:
        device, accounts = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=VALID_SECONDS)
    except (signing.BadSignature, ValueError):
        return secrets.token_hex(8), []
    return device, accounts


def _digest(email: str) -> str:
    return hashlib.sha256(email.lower().encode()).hexdigest()[:16]
