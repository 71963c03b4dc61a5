"""Plumbing of the control API: errors as JSON, keyset pages."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from rest_framework.exceptions import NotFound, ParseError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response

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
    # Not above: the settings name this module, and the views read them as they are imported. Which of the two
    # comes first is chance, as Django runs its checks in no order.
    from rest_framework.views import exception_handler

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

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Raises `NotFound` for a position that is no id."""
        cursor = super().decode_cursor(request)
        if cursor is not None and cursor.position is not None:
            try:
                UUID(str(cursor.position))
            except ValueError:
                raise NotFound(self.invalid_cursor_message) from None
        return cursor


class BoundedJSONParser(JSONParser):
    """JSON that is nested too deep to be read, or longer than a page's form may be, is the caller's mistake."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        data = stream.read(most + 1)
        if len(data) > most:
            raise ParseError(f"JSON parse error - more than {most} bytes")
        try:
            return super().parse(BytesIO(data), media_type, parser_context)
        except RecursionError:
            raise ParseError("JSON parse error - nested too deep") from None
