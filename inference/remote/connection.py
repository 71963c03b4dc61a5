"""A kept connection to a server: HTTP/1.1 by httptools, one exchange at a time.

aiohttp's client takes 2.7 times the processor time of this for a call (105 and 39 microseconds on one core, 64
at a time), which on the hot path is a sixth of all that a relayed call costs; the parser, where the danger lies,
is llhttp in both.
"""

import asyncio
import select
from typing import Any, cast

import httptools

from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault

MOST_HEADERS, MOST_HEADER_BYTES = 100, 32 * 1024
# Until the answer's body begins: heads that are not through yet, and interim answers.
MOST_HEAD_BYTES = 2 * MOST_HEADER_BYTES
# What goes around a body: chunks of a byte each are six times as long, and extensions of chunks have no end of their own.
MOST_FRAMING_BYTES, MOST_TIMES_BODY = 256 * 1024, 8


class Connection(asyncio.Protocol):
    """Owned by an upstream, which asks on it when it `is_usable`."""

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.idle_since = 0.0
        self.is_closed = False
        self._transport: asyncio.Transport | None = None
        self._arrived = select.poll()
        self._wire_bytes = 0
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    @property
    def is_usable(self) -> bool:
        """Whether another question may be asked on it."""
        return not self.is_closed and self.exchange is None

    @property
    def has_unread(self) -> bool:
        """Whether something has come that nobody has read: on a connection at rest, its end or what nobody asked for."""
        return bool(self._arrived.poll(0))

    def ask(self, request: bytes, exchange: Exchange) -> None:
        """Send a complete request; its answer goes to the exchange."""
        assert self._transport is not None
        self._begin()
        self.exchange = exchange
        exchange.throttle, exchange.resume = self._transport.pause_reading, self._resume
        exchange.let_go = self.close
        self._wire_bytes = 0
        self._transport.write(request)

    def close(self) -> None:
        """At once, whatever is under way."""
        if self._transport is not None and not self.is_closed:
            self.is_closed = True
            self._transport.abort()

    # --- of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._arrived.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.exchange is None:
            # Nobody asked; whatever this is, the next answer must not begin with it.
            self.close()
            return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break_off("The server does not speak HTTP as it should.")
        self._wire_bytes += len(data)
        exchange = self.exchange
        if exchange is not None and self._wire_bytes > _most_wire_bytes(exchange):
            self._break_off("The server sent too much beside its answer.")

    def connection_lost(self, error: Exception | None) -> None:
        self.is_closed = True
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        if self._ends_with_connection and error is None:
            exchange.complete()
            return
        again, exchange.again = exchange.again, None
        if again is not None and not self._answered and not exchange.is_over:
            again()
            return
        exchange.fail(
            UpstreamFault("broken", "The server closed the connection before its answer was whole.")
        )

    # --- of the parser ---

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        self._header_bytes += len(name) + len(value)
        if self._headers > MOST_HEADERS or self._header_bytes > MOST_HEADER_BYTES:
            self._break_off("The server sent too many headers.")
            return
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._is_framed = True
        elif name == b"retry-after" and self.exchange is not None:
            self.exchange.note_retry_after(value)
        elif name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            # What is not unpacked cannot be a bomb.
            self._break_off("The server compressed its answer although it was asked not to.")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.exchange is not None and status >= 200:
            self.exchange.status = status
            self._ends_with_connection = not self._is_framed

    def on_body(self, body: bytes) -> None:
        if self.exchange is not None:
            self.exchange.add(body)

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        if self._parser.get_status_code() < 200:
            # An interim answer; the real one follows.
            self._begin(answered=True)
            return
        self.exchange = None
        keep = self._parser.should_keep_alive() and not self._ends_with_connection
        if not keep:
            self.close()
        exchange.complete()

    def _begin(self, *, answered: bool = False) -> None:
        self._headers = self._header_bytes = 0
        self._answered = answered
        self._is_framed = self._ends_with_connection = False

    def _break_off(self, detail: str) -> None:
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.fail(UpstreamFault("broken", detail))
        self.close()

    def _resume(self) -> None:
        transport: Any = self._transport
        if transport is not None and not self.is_closed and not transport.is_reading():
            transport.resume_reading()


def _most_wire_bytes(exchange: Exchange) -> int:
    if not exchange.status:
        return MOST_HEAD_BYTES
    return MOST_FRAMING_BYTES + MOST_TIMES_BODY * exchange.received
