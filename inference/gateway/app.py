"""The ASGI application of the data plane, to be mounted under /v1."""

import asyncio
import difflib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import redis
from django.db import InterfaceError, OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inference.gateway import embeddings, generation, models, predictions
from inference.gateway.answering import json_response
from inference.gateway.errors import (
    CallError,
    MethodNotAllowed,
    ServiceUnavailable,
    UnknownUrl,
    describe,
    headers_of,
    status_of,
)
from inference.gateway.process import GatewayProcess
from inference.gateway.reading import ClientGone
from inference.gateway.retrying.doors import Door, once
from portal.kit import ids
from portal.kit.errors import PortalError
from portal.kit.redis import is_passing

log = logging.getLogger(__name__)

# A Redis that is full stays so until calls have ended or the meter has read what they used.
FULL_SECONDS = 5
DATABASE_SECONDS = 1

ADDRESSES = (
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/predictions", "/v1/models",
)  # fmt: skip


class InternalError(CallError):
    status = 500
    type = "server_error"
    code = "internal_error"
    message = "The server had an error while processing your request. Please try again."


def create(make_process: Callable[[], GatewayProcess] = GatewayProcess) -> Starlette:
    """A new application with what it holds. It opens with its lifespan, or else with its first request."""
    opening = Opening(make_process)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await opening.process()
        yield
        await opening.close()

    def serve(door: Door) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await door(await opening.process(), request)

        return endpoint

    app = Starlette(
        routes=[
            Route("/chat/completions", serve(once(generation.chat)), methods=["POST"]),
            Route("/completions", serve(once(generation.complete)), methods=["POST"]),
            Route("/embeddings", serve(once(embeddings.embed)), methods=["POST"]),
            Route("/predictions", serve(once(predictions.create)), methods=["POST"]),
            Route("/predictions/{id}", serve(predictions.retrieve), methods=["GET"]),
            Route("/predictions/{id}/cancel", serve(predictions.cancel), methods=["POST"]),
            Route("/models", serve(models.listed), methods=["GET"]),
            Route("/models/{model:path}", serve(models.retrieve), methods=["GET"]),
        ],
        exception_handlers=_HANDLERS,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class Opening:
    """Opens the process's share once, in the event loop that serves, and closes it."""

    def __init__(self, make_process: Callable[[], GatewayProcess]) -> None:
        self._make_process = make_process
        self._process: GatewayProcess | None = None
        self._lock = asyncio.Lock()

    async def process(self) -> GatewayProcess:
        if self._process is None:
            async with self._lock:
                if self._process is None:
                    process = self._make_process()
                    await process.open()
                    self._process = process
        return self._process

    async def close(self) -> None:
        if self._process is not None:
            await self._process.close()
            self._process = None


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, PortalError)
    return refusal(error)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.url.path[:200], request.method
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        answer = refusal(MethodNotAllowed(method=method, path=path, allowed=allowed))
        answer.headers.update(error.headers or {})
        return answer
    return refusal(UnknownUrl(method=method, path=path, advice=_advise(path)))


def _advise(path: str) -> str:
    """The address that was meant, if one is near."""
    near = difflib.get_close_matches(path.lower().rstrip("/"), ADDRESSES, n=1, cutoff=0.75)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(ADDRESSES)}."


async def _refuse_without_redis(request: Request, error: Exception) -> Response:
    if not is_passing(error):
        return await _apologise(request, error)
    log.warning("a call was refused: %s", error)
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        return refusal(
            ServiceUnavailable(reason="The service is restarting. Please try again.", retry_after=1)
        )
    reason = "The service can take no more calls at the moment. Please try again shortly."
    return refusal(ServiceUnavailable(reason=reason, retry_after=FULL_SECONDS))


async def _refuse_without_database(_: Request, error: Exception) -> Response:
    # Who calls is not known then: saying that the key is wrong would be a lie that clients act on.
    log.warning("a call was refused: %s", error)
    reason = "The service cannot look your key up at the moment. Please try again shortly."
    return refusal(ServiceUnavailable(reason=reason, retry_after=DATABASE_SECONDS))


async def _drop(_: Request, __: Exception) -> Response:
    # Nobody reads this; 499 is what access logs conventionally say of clients that left.
    return Response(status_code=499)


async def _apologise(_: Request, error: Exception) -> Response:
    log.error("a call failed", exc_info=error)
    return refusal(InternalError())


def refusal(error: PortalError) -> Response:
    """A refusal as OpenAI words it, with a request id to quote: the call's own if it was admitted."""
    request_id = getattr(error, "request_id", None) or ids.public("req", ids.uuid7())
    headers = {"x-request-id": request_id, **headers_of(error)}
    return json_response(describe(error), status=status_of(error), headers=headers)


_HANDLERS: Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
    PortalError: _refuse,
    HTTPException: _refuse_http,
    ClientGone: _drop,
    redis.RedisError: _refuse_without_redis,
    OperationalError: _refuse_without_database,
    InterfaceError: _refuse_without_database,
    Exception: _apologise,
}
