"""What every page tells the browser: what it may load and run, and that what is someone's own is not kept."""

from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.utils.deprecation import MiddlewareMixin

from portal.kit import policies


class ContentSecurityPolicyMiddleware(CSPMiddleware):
    """The policy of pages, and another one for the operators' console."""

    def get_policy_parts(self, request: HttpRequest, response: Any, report_only: bool = False) -> PolicyParts:
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and request.path_info.startswith("/admin/"):
            parts.config = policies.ADMIN
        return parts


class NoStoreMiddleware(MiddlewareMixin):
    """What depends on who asks stays in no cache: neither a proxy's nor that of the machine's next user."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if "Cache-Control" not in response and _is_personal(request):
            patch_cache_control(response, no_store=True, private=True)
            patch_vary_headers(response, ("Cookie",))
        return response


def _is_personal(request: HttpRequest) -> bool:
    """Whether the answer may hold what only one person may see. Asks nobody who that is: that costs a query."""
    if "Authorization" in request.headers:
        return True
    session = getattr(request, "session", None)
    return session is not None and session.accessed and settings.SESSION_COOKIE_NAME in request.COOKIES
