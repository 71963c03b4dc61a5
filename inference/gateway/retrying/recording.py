"""A door's answer, recorded as it comes, while the client that asked follows it or has left."""

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from inference.gateway.retrying.attempts import Answer


class Recording:
    """What a response has sent so far. Written by one task, followed by one client."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._changed = asyncio.Event()
        self._is_over = False
        self.failure: Exception | None = None

    async def send(self, message: Message) -> None:
        self._messages.append(message)
        self._changed.set()

    def end(self, failure: Exception | None = None) -> None:
        self.failure, self._is_over = failure, True
        self._changed.set()

    def answer(self) -> Answer:
        """The response, once it is over."""
        start = self._messages[0]
        body = b"".join(message.get("body", b"") for message in self._messages[1:])
        return Answer(start["status"], list(start["headers"]), body)

    async def follow(self, send: Send) -> None:
        """Send what is there and what comes. Raises the door's refusal if nothing was sent before it."""
        sent = 0
        while True:
            while sent < len(self._messages):
                await send(self._messages[sent])
                sent += 1
            if self._is_over:
                break
            self._changed.clear()
            await self._changed.wait()
        if self.failure is not None:
            raise self.failure


class Followed(Response):
    """The response of a recorded call to the client that made it."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._recording.follow(send)


class Repeated(Response):
    """A kept answer, again."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self._answer.headers, (b"idempotent-replayed", b"true")]
        start: dict[str, Any] = {"status": self._answer.status, "headers": headers}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": self._answer.body})
