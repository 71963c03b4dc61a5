"""Whose request it is, by its address: the peer's, or behind a proxy (TRUST_PROXY) what the proxy says.

The last address in X-Forwarded-For is the one that the proxy itself has added; those before it anyone can write.
"""

from collections.abc import Iterable

from django.conf import settings
from django.http import HttpRequest

from portal.server.limits import name_neighbourhood

UNKNOWN = "unknown"


def of(request: HttpRequest) -> str:
    """Of a request to a page or the control API; an IPv6 host counts by its /64."""
    return _read(request.META.get("REMOTE_ADDR"), request.META.get("HTTP_X_FORWARDED_FOR"))


def of_call(client: str | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Of a request as ASGI has it: the peer's address, and all headers."""
    forwarded = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return _read(client, ",".join(forwarded))


def _read(peer: str | None, forwarded: str | None) -> str:
    last = (forwarded or "").rpartition(",")[2].strip() if settings.TRUST_PROXY else ""
    return name_neighbourhood(last or peer or UNKNOWN)
