"""Uploads: declare the files, send their bytes in chunks, complete."""

from typing import IO, Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from marketplace import uploads
from marketplace.api import access
from marketplace.api.serializers import (
    OffsetSerializer,
    OwnVersionSerializer,
    UploadBeginSerializer,
    UploadCheckSerializer,
    UploadFileSerializer,
    UploadSerializer,
    WantedFilesSerializer,
)
from marketplace.models import Upload
from portal.accounts.models import ApiKey
from portal.kit import clock
from portal.kit.errors import NotFound
from portal.kit.views import APIView


class ChunkParser(BaseParser):
    """The request's body as bytes, whatever it calls itself; a byte more than allowed tells too much."""

    media_type = "*/*"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read(uploads.MAX_CHUNK_BYTES + 1)


class UploadList(APIView):
    @extend_schema(operation_id="uploads_list", responses=UploadSerializer(many=True))
    def get(self, request: Request, owner: str, slug: str) -> Response:
        """Unfinished uploads, to go on with."""
        listing = access.managed(request, owner, slug)
        live = listing.uploads.filter(version=None, expires_at__gt=clock.now()).order_by("-id")
        shown = live.select_related("listing__organisation").prefetch_related("files")
        return Response(UploadSerializer(shown, many=True).data)

    @extend_schema(
        operation_id="uploads_begin", request=UploadBeginSerializer, responses={201: UploadSerializer}
    )
    def post(self, request: Request, owner: str, slug: str) -> Response:
        """Declare the files of a new version."""
        listing = access.managed(request, owner, slug)
        given = UploadBeginSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        upload = uploads.begin(listing, by=access.user_of(request), **given.validated_data)
        return Response(UploadSerializer(upload).data, status=201)


class UploadCheck(APIView):
    @extend_schema(
        operation_id="uploads_check", request=UploadCheckSerializer, responses=WantedFilesSerializer
    )
    def post(self, request: Request, owner: str, slug: str) -> Response:
        """Ask by names and sizes alone, before hashing: names, sizes and quotas are refused here already."""
        listing = access.managed(request, owner, slug)
        given = UploadCheckSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        sizes = {file["path"]: file["size"] for file in given.validated_data["files"]}
        return Response({"paths": uploads.check(listing, by=access.user_of(request), sizes=sizes)})


class UploadDetail(APIView):
    @extend_schema(operation_id="uploads_retrieve", responses=UploadSerializer)
    def get(self, request: Request, upload_id: UUID) -> Response:
        """What has arrived so far."""
        return Response(UploadSerializer(_find(request, upload_id)).data)


class UploadedFile(APIView):
    parser_classes = [ChunkParser]
    queries = {"PUT": OffsetSerializer}
    # A model has thousands of chunks; their bytes have a quota.
    throttle_classes = []

    @extend_schema(
        operation_id="uploads_append",
        parameters=[OffsetSerializer],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses=UploadFileSerializer,
    )
    def put(self, request: Request, upload_id: UUID, path: str) -> Response:
        """Add the next bytes of a file. A wrong offset answers 409 with the right one."""
        upload = _find(request, upload_id)
        asked = OffsetSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        chunk = request.data if isinstance(request.data, bytes) else b""
        file = uploads.append(upload, path, offset=asked.validated_data["offset"], chunk=chunk)
        return Response(UploadFileSerializer(file).data)


class Completion(APIView):
    @extend_schema(operation_id="uploads_complete", request=None, responses={201: OwnVersionSerializer})
    def post(self, request: Request, upload_id: UUID) -> Response:
        """Make the version. It is checking until its files have been verified, read and tried."""
        version = uploads.complete(_find(request, upload_id), by=access.user_of(request))
        return Response(OwnVersionSerializer(version).data, status=201)


def _find(request: Request, upload_id: UUID) -> Upload:
    upload = uploads.find(upload_id, by=access.user_of(request))
    if isinstance(request.auth, ApiKey) and request.auth.organisation_id != upload.listing.organisation_id:
        raise NotFound(what="upload")
    return upload
