"""A door that a client may knock at twice with one `Idempotency-Key` and be let in once.

The call then runs apart from the connection: a client that loses it, or its patience, finds the answer when
it retries, instead of paying for a run that was cut off and for another one.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import orjson
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from inference.gateway.deliveries import KEPT_FIRST
from inference.gateway.errors import InvalidRequest, ServiceUnavailable
from inference.gateway.reading import IMAGES_LIMIT_BYTES, read_body
from inference.gateway.retrying.attempts import LEASE_SECONDS, Attempts
from inference.gateway.retrying.recording import Followed, Recording, Repeated

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

HEADER = "idempotency-key"
LONGEST = 255

log = logging.getLogger(__name__)

Door = Callable[["GatewayProcess", Request], Awaitable[Response]]


def once(door: Door) -> Door:
    """The door, for clients with and without a key."""

    async def knock(process: "GatewayProcess", request: Request) -> Response:
        key = request.headers.get(HEADER)
        return await (door(process, request) if key is None else _knock(process, request, door, key=key))

    return knock


async def _knock(process: "GatewayProcess", request: Request, door: Door, *, key: str) -> Response:
    if not 0 < len(key) <= LONGEST or not key.isascii() or not key.isprintable():
        raise InvalidRequest(f"'{HEADER}' must have 1 to {LONGEST} printable ASCII characters.", param=HEADER)
    authorization = request.headers.get("authorization")
    caller = await process.identifier.caller(authorization)
    body = await read_body(request, limit=IMAGES_LIMIT_BYTES)
    attempts = Attempts(
        process.redis, caller.organisation_id, key=key, kept=process.kept, most=process.attempt_limits
    )
    digest = hashlib.sha256(request.url.path.encode() + b"\0" + body).digest()
    first = await attempts.claim(digest)
    if first is not None:
        await _require_right(process, authorization, body if first.digest == digest else b"")
        return Repeated(await attempts.answer(first, digest))
    recording = Recording()
    scope = {**request.scope, KEPT_FIRST: []}
    process.spawn(_run(process, door, Request(scope, _said(body)), attempts, recording))
    return Followed(recording)


async def _require_right(process: "GatewayProcess", authorization: str | None, body: bytes) -> None:
    """Refuse whoever may not make the call any more: no admission guards what was kept. Of a body that names no model
    no call was ever made, so only who asks matters.
    """
    caller = await process.identifier.fresh_caller(authorization)
    model = _model_of(body)
    if model:
        await process.identifier.current_route(caller, model)


def _model_of(body: bytes) -> str:
    """The model that a request names; "" if it names none. The first call may be just about to be refused for that."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    named = (asked.get("model") or asked.get("version")) if isinstance(asked, dict) else None
    return named if isinstance(named, str) else ""


def _said(body: bytes) -> Callable[[], Awaitable[Message]]:
    """What a client sends that has said everything and never hangs up."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    return receive


async def _run(
    process: "GatewayProcess", door: Door, request: Request, attempts: Attempts, recording: Recording
) -> None:
    renewing = asyncio.ensure_future(_renew(attempts))
    failure: Exception | None = ServiceUnavailable(reason="The service is restarting.", retry_after=1)
    try:
        response = await door(process, request)
        await response(request.scope, request.receive, recording.send)
        if getattr(response, "has_failed", False):
            await attempts.forget()
        else:
            await attempts.keep(recording.answer())
        failure = None
        _note_delivered(process, request)
    except Exception as error:
        # For the client that follows, which words it as everywhere; what failed may be tried again.
        failure = error
        with contextlib.suppress(RedisError):
            await attempts.forget()
        _note_delivered(process, request)
    finally:
        renewing.cancel()
        recording.end(failure)


def _note_delivered(process: "GatewayProcess", request: Request) -> None:
    for call in request.scope[KEPT_FIRST]:
        process.deliveries.note(call)


async def _renew(attempts: Attempts) -> None:
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        try:
            await attempts.renew()
        except RedisError as error:
            log.warning("the entry of a call with an idempotency key was not renewed: %s", error)
