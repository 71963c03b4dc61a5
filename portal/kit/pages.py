"""Render refusals as pages where a browser asked."""

import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.deprecation import MiddlewareMixin
from django.utils.translation import gettext
from django.views.csrf import csrf_failure
from django.views.defaults import bad_request, page_not_found, permission_denied, server_error

from portal.kit.api_requests import is_for_api, refuse
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


def answer_unreadable(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler of requests that it does not take."""
    if not is_for_api(request):
        return bad_request(request, exception)
    if isinstance(exception, RequestDataTooBig):
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return refuse(413, "request_too_large", f"The request's body is larger than {most} bytes.")
    if isinstance(exception, DisallowedHost):
        host = str(request.META.get("HTTP_HOST", ""))[:100]
        message = f"The host '{host}' is not this site's. Use {settings.PUBLIC_URL}, or have it allowed by the operator."
        return refuse(400, "wrong_host", message)
    said = (
        str(exception) if isinstance(exception, BadRequest | MultiPartParserError) else "It cannot be read."
    )
    return refuse(400, "bad_request", f"The request is not taken: {said.rstrip('.')}.")


def answer_forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler of what may not be done."""
    if not is_for_api(request):
        return permission_denied(request, exception)
    return refuse(403, "permission_denied", "You may not do this. Ask an owner or admin of the organisation.")


def answer_forgery(request: HttpRequest, reason: str = "") -> HttpResponse:
    """For a form or call that does not show that it comes from a page of ours."""
    if not is_for_api(request):
        return csrf_failure(request, reason)
    message = f"{reason} With a browser's session, send the cookie csrftoken as the header X-CSRFToken; or use a key."
    return refuse(403, "permission_denied", message.strip())


def answer_missing(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler of addresses that lead nowhere."""
    if not is_for_api(request):
        return page_not_found(request, exception)
    path = request.path_info[:200]
    message = f"There is nothing at {path}. Models are called below /v1, all else below /api, as /api/docs/ lists it."
    return refuse(404, "not_found", message)


def answer_failure(request: HttpRequest) -> HttpResponse:
    """Django's handler of what no one has caught. A database or Redis that is away, or full, for a moment is no
    error of ours to apologise for: 503, and when to come back.
    """
    error = sys.exc_info()[1]
    if not (isinstance(error, OperationalError | InterfaceError) or is_passing(error)):
        if is_for_api(request):
            return refuse(
                500, "internal_error", "Something failed on our side, and is logged. Try again later."
            )
        answer: HttpResponse = server_error(request)
        answer["Content-Security-Policy"] = LAST_RESORT
        return answer
    if is_for_api(request):
        message = gettext("The service cannot do this at the moment. Try again shortly.")
        answer = refuse(503, "service_unavailable", message)
    else:
        # Without the request, whose context would ask the database again.
        answer = HttpResponse(render_to_string("errors/503.html"), status=503)
        answer["Content-Security-Policy"] = LAST_RESORT
    answer["Retry-After"] = "2"
    return answer
