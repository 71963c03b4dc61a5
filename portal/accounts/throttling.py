"""How many requests that change something one user, or one address, makes in a minute: pages and control API alike."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext_noop
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from portal.kit import addresses, ratelimit
from portal.kit.errors import PortalError
from portal.kit.ratelimit import Rate


class TooManyRequests(PortalError):
    """`retry_after` in seconds."""

    status = 429
    code = "rate_limit_exceeded"
    message = gettext_noop("More than {limit} changes within a minute. Go on in {retry_after} seconds.")


class WriteThrottle(BaseThrottle):
    """Of the control API, where a key counts as its holder."""

    _wait: float = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        if request.method in SAFE_METHODS:
            return True
        self._wait = _take(request._request, request.user)
        return not self._wait

    def wait(self) -> float:
        return self._wait


class WriteLimitMiddleware(MiddlewareMixin):
    """Of pages. Signing in and up have limits of their own too."""

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        if request.method in SAFE_METHODS or request.path_info.startswith("/api/"):
            return None
        wait = _take(request, request.user)
        if not wait:
            return None
        refusal = TooManyRequests(limit=settings.WRITES_PER_MINUTE, retry_after=round(wait) or 1)
        return render(request, "errors/refusal.html", {"error": refusal}, status=refusal.status)


def _take(request: HttpRequest, user: Any) -> float:
    who = str(user.pk) if user and user.is_authenticated else addresses.of(request)
    return ratelimit.take("write", who, Rate(settings.WRITES_PER_MINUTE, 60))
