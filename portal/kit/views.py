"""The views of the control API: Django REST framework's, which refuse query parameters that they do not read."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from django.db.models import Model
from rest_framework import generics, views, viewsets
from rest_framework.request import Request

from portal.kit.errors import UnknownParameter
from portal.kit.serializers import QuerySerializer, suggest

_Row = TypeVar("_Row", bound=Model)


class KnownParametersOnly:
    """`queries` are the serializers of query strings, by method; those that page are the paginator's own."""

    queries: ClassVar[Mapping[str, type[QuerySerializer]]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        known = self.parameters(request.method or "GET")
        for name in request.query_params:
            if name not in known:
                shown = name[:60]
                raise UnknownParameter(name=shown, hint=suggest(name, known), param=shown)

    def parameters(self, method: str) -> list[str]:
        """The names that the view reads from the query string."""
        query = self.queries.get("GET" if method == "HEAD" else method)
        names = [] if query is None else list(query().fields)
        is_list = method in ("GET", "HEAD") and not getattr(self, "detail", False)
        paginator = getattr(self, "paginator", None) if is_list else None
        return [*names, *getattr(paginator, "parameters", ())]


class APIView(KnownParametersOnly, views.APIView):
    """A view of its own."""


class GenericAPIView(KnownParametersOnly, generics.GenericAPIView[_Row]):
    """A view of a list."""


class GenericViewSet(KnownParametersOnly, viewsets.GenericViewSet[_Row]):
    """Views of a list and of its items."""
