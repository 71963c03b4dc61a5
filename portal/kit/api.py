"""Plumbing of the control API: errors as JSON, keyset pages, bodies."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any
from uuid import UUID

from django.conf import settings
from rest_framework.exceptions import ErrorDetail, NotFound, ParseError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response

from portal.kit.errors import Invalid, PortalError

MOST_A_PAGE = 200
LIMIT_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 1}
NON_FIELD = "non_field_errors"
_MOST_SAID = 300
# What a caller can do, by the framework's own codes, where its words do not say.
_ADVICE = {
    "not_found": "There is nothing at this address, or it is not yours to see.",
    "not_authenticated": "Sign in, or send the header Authorization: Bearer mk_... with a key of the scope `manage`.",
    "unsupported_media_type": "Send JSON with the header Content-Type: application/json.",
    "not_acceptable": "Answers are application/json.",
}


def handle_exception(error: Exception, context: dict[str, Any]) -> Response | None:
    """Every refusal in one shape: `{"error": {"code", "message", ...facts}}`."""
    if isinstance(error, PortalError):
        return Response(describe(error), status=error.status)
    # Not above: the settings name this module, and the views read them as they are imported. Which of the two
    # comes first is chance, as Django runs its checks in no order.
    from rest_framework.views import exception_handler

    response = exception_handler(error, context)
    if response is not None:
        response.data = {"error": _word(error, response, context)}
    return response


def describe(error: PortalError) -> dict[str, Any]:
    """The body of a refusal, with the facts that JSON can say."""
    facts = {
        name: value
        for name, value in error.data.items()
        if isinstance(value, str | int | float | list | dict | None)
    }
    return {"error": {"code": error.code, "message": str(error), **facts}}


def _word(error: Exception, response: Response, context: Mapping[str, Any]) -> dict[str, Any]:
    code = {404: "not_found"}.get(response.status_code) or getattr(error, "default_code", "error")
    detail = response.data.pop("detail", None) if isinstance(response.data, dict) else None
    if detail is None:
        problems = _flatten(response.data)
        return {"code": code, "message": _sum_up(problems), "fields": _shorten(response.data)}
    if code == "method_not_allowed":
        allowed = ", ".join(context["view"].allowed_methods)
        return {"code": code, "message": f"{_end(str(detail))} Use {allowed}."}
    if code == "not_found":
        return {"code": code, "message": _ADVICE[code]}
    return {"code": code, "message": " ".join(filter(None, (_end(str(detail)), _ADVICE.get(str(code)))))}


def _sum_up(problems: list[tuple[str, str]]) -> str:
    """The first of what is wrong, and how much more there is."""
    path, said = problems[0] if problems else ("", "The request has invalid fields.")
    more = f" And {len(problems) - 1} more: see `fields`." if len(problems) > 1 else ""
    return f"{path}: {said}{more}" if path else f"{said}{more}"


def _flatten(found: Any, path: str = "") -> list[tuple[str, str]]:
    """Paths such as `terms.components[0].meter` with what is wrong there."""
    if isinstance(found, Mapping):
        names = ((name, path if name == NON_FIELD else _join(path, name)) for name in found)
        return [problem for name, deeper in names for problem in _flatten(found[name], deeper)]
    if isinstance(found, list):
        deep = [
            problem
            for index, item in enumerate(found)
            if not isinstance(item, ErrorDetail | str)
            for problem in _flatten(item, f"{path}[{index}]")
        ]
        return [*((path, _end(str(item))) for item in found if isinstance(item, ErrorDetail | str)), *deep]
    return [(path, _end(str(found)))]


def _end(said: str) -> str:
    """A whole sentence, and none that quotes a megabyte."""
    said = said if len(said) <= _MOST_SAID else f"{said[:_MOST_SAID]}..."
    return said if said.endswith((".", "?", "!")) else f"{said}."


def _shorten(found: Any) -> Any:
    if isinstance(found, Mapping):
        return {name: _shorten(each) for name, each in found.items()}
    return [_shorten(each) for each in found] if isinstance(found, list) else _end(str(found))


def _join(path: str, name: Any) -> str:
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else str(name)


def read_limit(request: Request, *, usual: int, most: int) -> int:
    """How many items of a list are asked for. Raises `Invalid`."""
    text = request.query_params.get("limit", str(usual))
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise Invalid(reason=f"limit must be a whole number from 1 to {most}.", param="limit")
    return int(text)


class KeysetPagination(CursorPagination):
    """Newest first by id (ids are time-ordered); constant cost at any depth."""

    parameters = ("limit", "cursor")
    ordering = "-id"
    page_size_query_param = "limit"
    max_page_size = MOST_A_PAGE

    def get_page_size(self, request: Request) -> int:
        """Raises `Invalid`."""
        assert self.page_size is not None
        return read_limit(request, usual=self.page_size, most=MOST_A_PAGE)

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Raises `Invalid` for a position that is no id."""
        try:
            cursor = super().decode_cursor(request)
            if cursor is not None and cursor.position is not None:
                UUID(str(cursor.position))
        except (NotFound, ValueError):
            reason = "cursor must be as the next or previous of another page had it."
            raise Invalid(reason=reason, param="cursor") from None
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
