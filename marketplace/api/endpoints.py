"""Remote versions: a provider's own OpenAI-compatible server instead of weights."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import endpoints
from marketplace.api import access
from marketplace.api.listings import find_version
from marketplace.api.serializers import (
    EndpointKeySerializer,
    EndpointSerializer,
    NewEndpointSerializer,
    OwnVersionSerializer,
)
from portal.kit.views import APIView


class EndpointList(APIView):
    @extend_schema(
        operation_id="endpoints_add", request=NewEndpointSerializer, responses={201: OwnVersionSerializer}
    )
    def post(self, request: Request, owner: str, slug: str) -> Response:
        """Make the endpoint the listing's next version. It is checking until it has answered one tiny call."""
        listing = access.managed(request, owner, slug)
        given = NewEndpointSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        told = dict(given.validated_data)
        notes = told.pop("notes")
        version = endpoints.add_version(
            listing, by=access.user_of(request), wanted=endpoints.Wanted(**told), notes=notes
        )
        return Response(OwnVersionSerializer(version).data, status=201)


class EndpointKey(APIView):
    @extend_schema(
        operation_id="endpoints_replace_key", request=EndpointKeySerializer, responses=EndpointSerializer
    )
    def put(self, request: Request, owner: str, slug: str, number: int) -> Response:
        """Send another key from the next call on. An empty one sends none."""
        listing = access.managed(request, owner, slug)
        version = find_version(listing, number)
        given = EndpointKeySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        endpoint = endpoints.replace_key(
            version, by=access.user_of(request), api_key=given.validated_data["api_key"]
        )
        return Response(EndpointSerializer(endpoint).data)
