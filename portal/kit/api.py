"""Plumbing of the control API: errors as JSON, keyset pages."""

from typing import Any

from rest_framework.pagination import CursorPagination
from rest_framework.response import Response
from rest_framework.views import exception_handler

from portal.kit.errors import PortalError


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every refusal in one shape: `{"error": {"code", "message", ...facts}}`."""
    if isinstance(error, PortalError):
        facts = {
            name: value
            for name, value in error.data.items()
            if isinstance(value, str | int | list | dict | None)
        }
        return Response({"error": {"code": error.code, "message": str(error), **facts}}, status=error.status)
    response = exception_handler(error, context)
    if response is not None:
        code = getattr(error, "default_code", "error")
        detail = response.data.pop("detail", None) if isinstance(response.data, dict) else None
        body: dict[str, Any] = {"code": code, "message": str(detail or "The request has invalid fields.")}
        if not detail:
            body["fields"] = response.data
        response.data = {"error": body}
    return response


class KeysetPagination(CursorPagination):
    """Newest first by id (ids are time-ordered); constant cost at any depth."""

    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = 200
