"""Request bodies: complete, in time, within a size, and JSON."""

import asyncio
from typing import Any

import orjson
from starlette.requests import Request

from inference.gateway.errors import BodyTooLarge, NotJson, SlowBody, UnsupportedMediaType

TEXT_LIMIT_BYTES = 4 * 2**20
IMAGES_LIMIT_BYTES = 16 * 2**20
BODY_SECONDS = 30.0


class ClientGone(Exception):
    """The client closed the connection; there is nobody to answer."""


async def read_json(request: Request, *, limit: int = TEXT_LIMIT_BYTES) -> Any:
    """The body as plain data. Raises `UnsupportedMediaType`, `BodyTooLarge`, `SlowBody` or `NotJson`."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise BodyTooLarge(limit=limit)
    try:
        return orjson.loads(await read_body(request, limit=limit))
    except orjson.JSONDecodeError as error:
        raise NotJson(reason=str(error)) from None


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
