"""Whose request it is, by its address: the peer's, or behind a proxy (TRUST_PROXY) what the proxy says.

The last address in X-Forwarded-For is the one that the proxy itself has added; those before it anyone can write.
"""

import re

from django.conf import settings
from django.http import HttpRequest

from portal.server.limits import name_neighbourhood

UNKNOWN = "unknown"
# Some proxies add the port, which is another for every connection.
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]+|\[([0-9a-fA-F:.]+)\](?::[0-9]+)?")


def of(request: HttpRequest) -> str:
    """Of a request to a page or the control API; an IPv6 host counts by its /64."""
    return _read(request.META.get("REMOTE_ADDR"), request.META.get("HTTP_X_FORWARDED_FOR"))


def _read(peer: str | None, forwarded: str | None) -> str:
    last = (forwarded or "").rpartition(",")[2].strip() if settings.TRUST_PROXY else ""
    said = last or peer or UNKNOWN
    found = _WITH_PORT.fullmatch(said)
    return name_neighbourhood((found[1] or found[2]) if found else said)
