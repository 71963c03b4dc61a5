"""Pages of search results, whose order is a rank and not a key."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from portal.kit.errors import Invalid

MOST = 100
# Nobody reads this far; a crawler may follow the newest-first order by narrowing its filters.
FARTHEST = 10_000


class SlicePagination(BasePagination):
    """`limit` and `offset`, without a count: `{"next": address or null, "results": [...]}`."""

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        limit = _number(request, "limit", default=50, least=1, most=MOST)
        offset = _number(request, "offset", default=0, least=0, most=FARTHEST)
        found = list(queryset[offset : offset + limit + 1])
        address = request.build_absolute_uri()
        self._next = replace_query_param(address, "offset", offset + limit) if len(found) > limit else None
        return found[:limit]

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"next": self._next, "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        address = {"type": "string", "format": "uri", "nullable": True}
        properties = {"next": address, "results": schema}
        return {"type": "object", "required": ["next", "results"], "properties": properties}

    def get_schema_operation_parameters(self, view: APIView) -> list[Any]:
        return [
            {"name": name, "in": "query", "required": False, "schema": {"type": "integer"}}
            for name in ("limit", "offset")
        ]


def _number(request: Request, name: str, *, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or len(text) > 9 or not least <= int(text) <= most:
        raise Invalid(reason=f"{name} must be a whole number from {least} to {most}.")
    return int(text)
