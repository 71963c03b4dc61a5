"""Pages of listings: by the last one's keys, or by its place among search results, whose order is a rank."""

from collections.abc import Sequence
from typing import Any, cast

from django.core import signing
from django.db.models import QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from portal.kit import keysets
from portal.kit.api import LIMIT_SCHEMA, read_limit
from portal.kit.errors import Invalid
from portal.kit.keysets import Order

MOST = 100
_SALT = "listings"


class ListingPagination(BasePagination):
    """`limit` and `after`, without a count: `{"next": address or null, "results": [...]}`. The view's `order` are the
    keys of what it lists; None for results in the order of a rank, of which there is a bounded number.
    """

    parameters = ("limit", "after")

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        order: Order | None = getattr(view, "order", None)
        limit = _read_limit(request)
        after = _read_cursor(request, order)
        if order is None:
            start = after or 0
            found = list(queryset[start : start + limit + 1])
        else:
            found = keysets.page(cast("QuerySet[Any]", queryset), order, after=after, size=limit + 1)
        self._next = None
        if len(found) > limit:
            place = start + limit if order is None else keysets.position(found[limit - 1], order)
            cursor = signing.dumps([_name(order), place], salt=_SALT, compress=True)
            self._next = replace_query_param(request.build_absolute_uri(), "after", cursor)
        return found[:limit]

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": "string", "format": "uri", "nullable": True}
        properties = {"next": address, "results": schema}
        return {"type": "object", "required": ["next", "results"], "properties": properties}

    def get_schema_operation_parameters(self, view: APIView) -> list[Any]:
        return [
            {"name": "limit", "in": "query", "required": False, "schema": LIMIT_SCHEMA | {"maximum": MOST}},
            {
                "name": "after", "in": "query", "required": False, "schema": {"type": "string"},
                "description": "Where the page begins: as the `next` of the page before has it.",
            },
        ]  # fmt: skip


def _name(order: Order | None) -> str:
    """What a cursor is good for."""
    return "rank" if order is None else " ".join(key.name for key in order)


def _read_cursor(request: Request, order: Order | None) -> Any:
    """Raises `Invalid`."""
    text = request.query_params.get("after")
    if not text:
        return None
    try:
        name, place = signing.loads(text, salt=_SALT)
    except (signing.BadSignature, TypeError, ValueError):
        name, place = "", None
    if name != _name(order):
        raise Invalid(
            reason="after must be as the next of the page before had it, for the same sort.", param="after"
        )
    return place


def _read_limit(request: Request) -> int:
    return read_limit(request, usual=50, most=MOST)
