"""uvicorn's HTTP protocol with limits: of connections, of a head's size, of the time for each part of an exchange.

Deadlines cost a request nothing but a few attributes: one sweep a second looks at all connections of the process.
The sweep reads uvicorn's own attributes (`cycle`, `flow`, `pipeline`), which `tests/portal/server` holds to.
"""

import asyncio
import weakref
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from portal.kit import environment as env
from portal.server import limits
from portal.server.limits import Connections, Patience

SWEEP_SECONDS = 1.0


class Door:
    """What the connections of one server have in common: their number, and the sweep that ends the overdue."""

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        behind_proxy = env.flag("TRUST_PROXY", default=False)
        self.counted = Connections(
            most=limits.count_possible_connections(),
            per_address=None if behind_proxy else env.connections_per_address(),
        )
        self._state = weakref.ref(state)
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def keep_sweeping(self) -> None:
        """Sweep in a moment, and on as long as there are connections."""
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        if (state := self._state()) is None or not state.connections:
            return
        self.keep_sweeping()
        now, patience = self._loop.time(), self.counted.patience
        for connection in list(state.connections):
            if isinstance(connection, BoundedProtocol) and connection.is_overdue(now, patience):
                connection.end()


_DOORS: "weakref.WeakKeyDictionary[ServerState, Door]" = weakref.WeakKeyDictionary()


class UnchunkedCycle(RequestResponseCycle):
    """An answer over HTTP/1.0, which knows no chunks: one of unknown length ends with its connection."""

    _is_endless = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._is_endless = b"content-length" not in names
            if self._is_endless:
                self.chunked_encoding, self.keep_alive = False, False
        elif self._is_endless:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if server_state not in _DOORS:
            _DOORS[server_state] = Door(server_state, self.loop)
        self._door = _DOORS[server_state]
        self._address: str | None = None
        # When the part of an exchange began that is waited for now, in the loop's seconds; None where it is not.
        self._head_since: float | None = None
        self._body_since: float | None = None
        self._write_since: float | None = None
        self._quiet_since = 0.0
        self._head_bytes = self._body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_since = self._quiet_since = self.loop.time()
        address = limits.name_neighbourhood(self.client[0] if self.client else "")
        if not self._door.counted.admit(address):
            self._refuse(503, "Too many connections. Close some, or try again in a moment.")
            return
        self._address = address
        self._door.keep_sweeping()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._address is not None:
            self._door.counted.leave(self._address)
            self._address = None

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._head_since is None and self._body_since is None:
            self._head_since = self.loop.time()
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_since is not None and self._head_bytes > limits.MOST_HEAD_BYTES:
            self._refuse(431, "The request's head is too large.")

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= limits.MOST_PIPELINED:
            # Ends the parsing of what arrived; uvicorn answers 400 and closes.
            raise httptools.HttpParserError("too many requests at once on one connection")
        self._head_since, self._body_since = None, self.loop.time()
        self._head_bytes = self._body_bytes = 0
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None and self.cycle.scope is self.scope:
            self.cycle.__class__ = UnchunkedCycle

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_since, self._head_bytes = None, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._quiet_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self._write_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write_since = None
        super().resume_writing()

    def is_overdue(self, now: float, patience: Patience) -> bool:
        """Whether the client has taken too long with what is waited for."""
        if self._write_since is not None:
            return now - self._write_since > patience.write
        if self.cycle is not None and not self.cycle.response_complete:
            return self._is_body_overdue(now, patience)
        if self._head_since is not None:
            return now - self._head_since > patience.head
        return now - self._quiet_since > patience.idle

    def _is_body_overdue(self, now: float, patience: Patience) -> bool:
        if self._body_since is None:
            return False
        if self.flow.read_paused:
            # It is we who do not read: that time is not the client's.
            self._body_since += SWEEP_SECONDS
            return False
        lasted = now - self._body_since
        return lasted > patience.body and self._body_bytes < lasted * patience.body_rate

    def end(self) -> None:
        """Close a connection that took too long, with an answer where none has begun."""
        if self._head_since is not None and self._head_bytes and self._write_since is None:
            self._refuse(408, "The request did not arrive in time.")
        elif self._body_since is not None and not self.cycle.response_started:
            self._refuse(408, "The request's body did not arrive in time.")
        elif self._write_since is not None:
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse(self, status: int, sentence: str) -> None:
        """A last answer, which the application knows nothing of."""
        body = f"{sentence}\n".encode()
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\nx-content-type-options: nosniff\r\nretry-after: 5\r\ncontent-length: "
        self.transport.write(b"".join((STATUS_LINE[status], head, b"%d\r\n\r\n" % len(body), body)))
        self.transport.close()
        # What is written to a client that reads nothing is not waited for.
        self.loop.call_later(SWEEP_SECONDS, self.transport.abort)
