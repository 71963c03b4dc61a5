"""Render refusals as pages where a browser asked."""

import sys
from typing import Any

from django.core.exceptions import BadRequest
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext
from django.views.defaults import server_error

from portal.kit.errors import PortalError
from portal.kit.policies import LAST_RESORT
from portal.kit.redis import is_passing

_FORMS = {"application/x-www-form-urlencoded", "multipart/form-data"}


class NullCharactersMiddleware(MiddlewareMixin):
    """Refuses what no text of ours can hold: the database takes no NUL, in addresses as in forms."""

    def process_request(self, request: HttpRequest) -> None:
        if "\0" in request.path_info or any(map(_has_null, request.GET.values())):
            raise BadRequest("The address holds a NUL character.")

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        if request.content_type in _FORMS and any(map(_has_null, request.POST.values())):
            raise BadRequest("The form holds a NUL character.")


def _has_null(value: object) -> bool:
    return isinstance(value, str) and "\0" in value


class ErrorPagesMiddleware(MiddlewareMixin):
    """Turns a `PortalError` that a page's view lets through into an error page with its status."""

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, PortalError):
            return None
        return render(request, "errors/refusal.html", {"error": error}, status=error.status)


def answer_nowhere(request: HttpRequest, **_: str) -> HttpResponse:
    """For an address of a library that leads nowhere here."""
    raise Http404


def answer_failure(request: HttpRequest) -> HttpResponse:
    """Django's handler of what no one has caught. A database or Redis that is away, or full, for a moment is no
    error of ours to apologise for: 503, and when to come back.
    """
    error = sys.exc_info()[1]
    if not (isinstance(error, OperationalError | InterfaceError) or is_passing(error)):
        answer: HttpResponse = server_error(request)
        answer["Content-Security-Policy"] = LAST_RESORT
        return answer
    if request.path_info.startswith("/api/"):
        told = {
            "code": "service_unavailable",
            "message": gettext("The service cannot do this at the moment. Try again shortly."),
        }
        answer = JsonResponse({"error": told}, status=503)
    else:
        # Without the request, whose context would ask the database again.
        answer = HttpResponse(render_to_string("errors/503.html"), status=503)
        answer["Content-Security-Policy"] = LAST_RESORT
    answer["Retry-After"] = "2"
    return answer
