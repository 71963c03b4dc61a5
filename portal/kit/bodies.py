"""A limit on request bodies before Django sees them.

Django's ASGI handler writes a whole body to a temporary file before any middleware or authentication, so
without a limit in front anyone could fill the disk.
"""

import json
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class _TooLarge(Exception):
    """More bytes arrived than the limit allows."""


class LimitedBodies:
    """Answers 413 to bodies beyond `most` bytes, by their declared length or by counting."""

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > self._most:
            await self._refuse(scope, send)
            return
        await self._count(scope, receive, send)

    async def _count(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived, started = 0, False

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._most:
                raise _TooLarge
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            if not started:
                await self._refuse(scope, send)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        text = f"The request's body is larger than {self._most} bytes. Send files in smaller pieces."
        kind, body = b"text/plain; charset=utf-8", f"{text}\n".encode()
        if scope["path"].startswith("/api/"):
            refusal = {"code": "request_too_large", "message": text, "limit": self._most}
            kind, body = b"application/json", json.dumps({"error": refusal}).encode()
        headers: list[Any] = [
            (b"content-type", kind),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": body})
