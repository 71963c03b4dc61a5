"""Request bodies: complete, in time, within a size, and JSON."""

import asyncio
import zlib
from typing import Any

import orjson
from starlette.requests import Request

from inference.gateway.errors import (
    BodyTooLarge,
    NotJson,
    SlowBody,
    UnsupportedEncoding,
    UnsupportedMediaType,
)

TEXT_LIMIT_BYTES = 4 * 2**20
IMAGES_LIMIT_BYTES = 16 * 2**20
BODY_SECONDS = 30.0
# Content encodings, and zlib's word for their windows; 0 where there is nothing to unpack.
_UNPACKED = {"": 0, "identity": 0, "gzip": 31, "x-gzip": 31, "deflate": 15}
_MEMBERS = 16


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


async def read_json(request: Request, *, limit: int = TEXT_LIMIT_BYTES) -> Any:
    """The body as plain data; its size counts as sent and as unpacked.

    Raises `UnsupportedMediaType`, `UnsupportedEncoding`, `BodyTooLarge`, `SlowBody` or `NotJson`.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType(kind=kind[:40])
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in _UNPACKED:
        raise UnsupportedEncoding(encoding=encoding[:40])
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(limit=limit)
    body = await read_body(request, limit=limit)
    if _UNPACKED[encoding]:
        body = unpack(body, bits=_UNPACKED[encoding], limit=limit)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise NotJson(reason=str(error)) from None


def unpack(body: bytes, *, bits: int, limit: int) -> bytes:
    """A packed body; what would come to more than the limit is not unpacked any further.

    Raises `BodyTooLarge` or `NotJson`.
    """
    pieces, length = [], 0
    try:
        for _ in range(_MEMBERS):
            unpacking = zlib.decompressobj(wbits=bits)
            pieces.append(unpacking.decompress(body, limit + 1 - length))
            length += len(pieces[-1])
            if length > limit:
                raise BodyTooLarge(limit=limit)
            if not unpacking.eof:
                raise NotJson(reason="it is compressed, and cut off")
            # Some tools write several members, one behind the other.
            if not (body := unpacking.unused_data):
                return b"".join(pieces)
    except zlib.error:
        raise NotJson(reason="it is not compressed as its Content-Encoding says") from None
    raise NotJson(reason=f"it is compressed in more than {_MEMBERS} members")


async def read_body(request: Request, *, limit: int) -> bytes:
    """The body's bytes. Raises `BodyTooLarge`, `SlowBody` or `ClientGone`."""
    message = await _receive(request)
    body: bytes = message.get("body", b"")
    if not message.get("more_body") and len(body) <= limit:
        return body
    pieces, length = [body], len(body)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while message.get("more_body"):
                message = await _receive(request)
                pieces.append(message.get("body", b""))
                length += len(pieces[-1])
                if length > limit:
                    raise BodyTooLarge(limit=limit)
    except TimeoutError:
        raise SlowBody(seconds=int(BODY_SECONDS)) from None
    if length > limit:
        raise BodyTooLarge(limit=limit)
    return b"".join(pieces)


async def _receive(request: Request) -> dict[str, Any]:
    message = dict(await request.receive())
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message
