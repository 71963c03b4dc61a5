"""Render refusals as pages where a browser asked."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from portal.kit.errors import PortalError


class ErrorPagesMiddleware(MiddlewareMixin):
    """Turns a `PortalError` that a page's view lets through into an error page with its status."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, PortalError):
            return None
        return render(request, "errors/refusal.html", {"error": error}, status=error.status)
