"""One provider's server as this process sees it: its kept connections, its slots and its circuit."""

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from inference.remote import dialling
from inference.remote.circuit import Circuit
from inference.remote.connection import Connection
from inference.remote.exchange import Exchange
from inference.remote.faults import UpstreamFault
from portal.kit.outbound import Outbound

# Below the five seconds after which common servers hang up.
IDLE_SECONDS = 4.0
MOST_IDLE = 256
# An organisation may hold so many slots for each that is free: alone it gets seven eighths of them, and whoever
# else comes finds one.
SHARE_OF_FREE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFacts:
    """What a call needs to know of an endpoint. `key` is its text and stays out of every representation. An answer may
    bill up to `hidden_reasoning_tokens` that it does not show.
    """

    version: str
    base_url: str = field(repr=False)
    model: str = field(repr=False)
    max_output_tokens: int
    concurrency: int
    key: str = field(repr=False)
    hidden_reasoning_tokens: int = 0


class Upstream:
    """Owned by one event loop. Made anew when the endpoint's facts change."""

    def __init__(self, facts: EndpointFacts, outbound: Outbound) -> None:
        self.facts = facts
        self.circuit = Circuit()
        self.in_flight: set[Exchange] = set()
        self.taken = 0
        self._takers: Counter[str] = Counter()
        self.used_at = time.monotonic()
        self._destination = dialling.destination_of(facts.base_url)
        self._outbound = outbound
        self._idle: deque[Connection] = deque()
        self._again: set[asyncio.Task[None]] = set()
        self._tail = self._write_tail()

    def enter(self, organisation: str) -> None:
        """Take a slot; `leave` gives it back. Raises `UpstreamFault` if it is full, resting, or if the
        organisation has its share.
        """
        free = self.facts.concurrency - self.taken
        if self._takers[organisation] >= SHARE_OF_FREE * free:
            detail = "As many calls as the endpoint takes are under way."
            raise UpstreamFault("overloaded", detail, retry_after=1.0)
        if not self.circuit.enter():
            rest = max(1.0, self.circuit.rests_for)
            raise UpstreamFault(
                "overloaded", "The server has failed too often and is left alone.", retry_after=rest
            )
        self.taken += 1
        self._takers[organisation] += 1
        self.used_at = time.monotonic()

    def leave(self, organisation: str) -> None:
        """Give a slot back."""
        self.taken -= 1
        self._takers[organisation] -= 1
        if not self._takers[organisation]:
            del self._takers[organisation]
        self.circuit.leave()

    def note(self, fault: UpstreamFault | None) -> None:
        """How an exchange went, for the circuit."""
        if fault is None:
            self.circuit.succeed()
        elif fault.counts:
            self.circuit.fail(fault.detail)
        else:
            self.circuit.leave()

    async def ask(self, path: str, body: bytes, exchange: Exchange) -> None:
        """Send a request, over a kept connection where there is one. Raises `UpstreamFault`.

        A kept connection that the server closed as we wrote has carried nothing, so a fresh one is tried.
        """
        request = self._write_request(path, body)
        connection = self._kept()
        if connection is None:
            connection = await dialling.dial(self._destination, self._outbound)
            if exchange.error is not None:
                # Who asked has gone while we dialled.
                connection.close()
                raise exchange.error
        else:
            exchange.again = lambda: self._ask_again(request, exchange)
        self._send(connection, request, exchange)

    def release(self, exchange: Exchange) -> None:
        """Take the connection of an exchange back, or close it if its answer is not through."""
        self.in_flight.discard(exchange)
        exchange.give_back()
        connection = exchange.connection
        exchange.connection = None
        if connection is None:
            return
        if connection.is_usable and len(self._idle) < MOST_IDLE:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def keep_time(self, now: float) -> None:
        """End exchanges that take too long, and connections that nobody uses."""
        for exchange in list(self.in_flight):
            exchange.end_if_late(now)
        while self._idle and (self._idle[0].is_closed or now - self._idle[0].idle_since > IDLE_SECONDS):
            self._idle.popleft().close()

    def close(self) -> None:
        """Hang up on everything."""
        for exchange in list(self.in_flight):
            exchange.fail(UpstreamFault("broken", "The web process is stopping."))
            self.release(exchange)
        while self._idle:
            self._idle.popleft().close()

    def _send(self, connection: Connection, request: bytes, exchange: Exchange) -> None:
        self.in_flight.add(exchange)
        exchange.connection = connection
        connection.ask(request, exchange)

    def _ask_again(self, request: bytes, exchange: Exchange) -> None:
        exchange.connection = None
        task = asyncio.get_running_loop().create_task(self._ask_anew(request, exchange))
        self._again.add(task)
        task.add_done_callback(self._again.discard)

    async def _ask_anew(self, request: bytes, exchange: Exchange) -> None:
        try:
            connection = await dialling.dial(self._destination, self._outbound)
        except UpstreamFault as fault:
            exchange.fail(fault)
            return
        except BaseException:
            # Who waits for the answer knows nothing of this task.
            exchange.fail(UpstreamFault("broken", "The connection could not be made again."))
            raise
        if exchange.is_over or exchange not in self.in_flight:
            connection.close()
            return
        self._send(connection, request, exchange)

    def _kept(self) -> Connection | None:
        now = time.monotonic()
        while self._idle:
            # The newest: it is the least likely to be stale, and the oldest can go.
            connection = self._idle.pop()
            is_fresh = now - connection.idle_since <= IDLE_SECONDS
            if connection.is_usable and is_fresh and not connection.has_unread:
                return connection
            connection.close()
        return None

    def _write_tail(self) -> bytes:
        lines = [
            f"Host: {self._destination.authority}", "Content-Type: application/json",
            "Accept: application/json, text/event-stream", "Accept-Encoding: identity", "User-Agent: Mercato",
        ]  # fmt: skip
        if self.facts.key:
            lines.append(f"Authorization: Bearer {self.facts.key}")
        return ("\r\n".join(lines) + "\r\nContent-Length: ").encode("ascii")

    def _write_request(self, path: str, body: bytes) -> bytes:
        start = f"POST {self._destination.path}/{path} HTTP/1.1\r\n".encode("ascii")
        return b"%b%b%d\r\n\r\n%b" % (start, self._tail, len(body), body)
