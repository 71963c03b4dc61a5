"""Answers of calls: whole as JSON, or streamed as server-sent events. Both notice a client that leaves."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inference.gateway import ending
from inference.gateway.call import Call, Ending, Piece
from inference.gateway.errors import describe
from inference.gateway.reading import ClientGone
from inference.gateway.responses import usage

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

# A failure this soon still becomes a status of its own; later it is an event in the stream.
HEADERS_WAIT_SECONDS = 1.0
SILENCE_SECONDS = 10.0
LOADING_SECONDS = 1.0
DONE = b"data: [DONE]\n\n"
# No browser takes an answer for anything but what it says it is.
_AS_IS = {"x-content-type-options": "nosniff"}


class Shape(Protocol):
    """How an endpoint words its chunks."""

    def first(self) -> list[dict[str, Any]]: ...

    def piece(self, piece: Piece) -> dict[str, Any]: ...

    def last(self, ending: Ending) -> list[dict[str, Any]]: ...


def json_response(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    told = {**_AS_IS, **headers} if headers else _AS_IS
    return Response(orjson.dumps(body), status_code=status, headers=told, media_type="application/json")


@contextlib.asynccontextmanager
async def attended(process: "GatewayProcess", call: Call, receive: Receive) -> AsyncIterator[None]:
    """While a door waits for a call: a client that leaves hangs it up, and leaving early stops the run."""
    leaving = asyncio.ensure_future(receive())
    leaving.add_done_callback(lambda _: call.hang_up())
    try:
        yield
    finally:
        leaving.cancel()
        if not call.is_over:
            process.spawn(ending.abandon(process, call))


async def answer_whole(
    process: "GatewayProcess", call: Call, request: Request, shape: Callable[[Ending], dict[str, Any]]
) -> Response:
    """Wait for the end. Raises the call's failure, or `ClientGone`."""
    async with attended(process, call, request.receive):
        await call.wait_end()
    if call.failure is not None or call.ending is None:
        # A refusal is delivered by whoever catches it; who has left waits for nothing.
        process.deliveries.note(call)
    reached = reached_end(call)
    headers = {**usage.headers(call), **usage.cost_headers(call, reached)}
    return Delivery(process, call, json_response(shape(reached), headers=headers))


class Delivery(Response):
    """A whole answer, and the note that it has been delivered."""

    def __init__(self, process: "GatewayProcess", call: Call, answer: Response) -> None:
        self._process, self._call, self._answer = process, call, answer
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)
        self._process.deliveries.note_answered(self._call, scope)


def reached_end(call: Call) -> Ending:
    """How the call ended. Raises its failure, or `ClientGone` if it has not ended."""
    if call.failure is not None:
        raise call.failure
    if call.ending is None:
        raise ClientGone
    return call.ending


class EventStream(Response):
    """A streamed answer. Failures before the headers are raised, so that they get a status of their own."""

    def __init__(self, process: "GatewayProcess", call: Call, shape: Shape) -> None:
        self._process = process
        self._call = call
        self._shape = shape
        self.background = None

    @property
    def has_failed(self) -> bool:
        """Whether it ended with an error in the stream: such a call cost nothing."""
        return self._call.failure is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = self._call
        async with attended(self._process, call, receive):
            await call.wait(seconds=HEADERS_WAIT_SECONDS)
            if call.failure is not None:
                self._process.deliveries.note(call)
                raise call.failure
            await send({"type": "http.response.start", "status": 200, "headers": self._opening_headers()})
            async for events in self._events():
                await send({"type": "http.response.body", "body": events, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            if call.is_over:
                self._process.deliveries.note_answered(call, scope)

    def _opening_headers(self) -> list[tuple[bytes, bytes]]:
        headers = {
            "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no",
            **_AS_IS, **usage.headers(self._call),
        }  # fmt: skip
        return [(name.encode(), value.encode()) for name, value in headers.items()]

    async def _events(self) -> AsyncIterator[bytes]:
        call, opening = self._call, b"".join(map(event, self._shape.first()))
        while not call.gone:
            events, opening = [opening], b""
            piece = call.fetch()
            if piece is not None:
                events.append(event(self._shape.piece(piece)))
            if call.is_over:
                events.append(self._closing())
            if any(events):
                yield b"".join(events)
            if call.is_over:
                return
            if not await call.wait(seconds=self._patience()):
                yield self._comment()

    def _closing(self) -> bytes:
        call = self._call
        if call.ending is not None:
            return b"".join(map(event, self._shape.last(call.ending))) + DONE
        assert call.failure is not None
        return event(describe(call.failure)) + DONE

    def _patience(self) -> float:
        return LOADING_SECONDS if self._is_cold() else SILENCE_SECONDS

    def _is_cold(self) -> bool:
        return (
            self._call.run is None
            and self._call.worker is None
            and not self._process.roster.serves(self._call.version)
        )

    def _comment(self) -> bytes:
        """Comments keep the connection open through proxies, and tell a person what is going on."""
        if self._is_cold():
            doing = (
                "loading model" if self._process.roster.loads(self._call.version) else "waiting for a worker"
            )
            return f": {doing} ({self._call.age:.0f} s)\n\n".encode()
        return f": still running at {int(time.time())}\n\n".encode()


def event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
