"""Render refusals as pages where a browser asked."""

from typing import Any

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin

from portal.kit.errors import PortalError

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
