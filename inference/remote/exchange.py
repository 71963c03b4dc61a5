"""One question to a server and its answer, between the connection that fills it and the one who reads it."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from inference.remote.faults import UpstreamFault
from inference.remote.room import FREE_BYTES, Room

if TYPE_CHECKING:
    from inference.remote.connection import Connection

# Unread bytes at which the server is made to wait.
HIGH_WATER_BYTES = 256 * 1024
MOST_RETRY_AFTER_SECONDS = 60.0


class Exchange:
    """Seconds until the first byte of the answer and between any two; `most_bytes` of body. A `whole` answer is
    read once it is complete, and its first byte may take as long as all of it; what is long of it takes `room`.
    """

    __slots__ = (
        "_between", "_data", "_most_bytes", "_room", "_taken", "_waiter", "_whole", "again", "connection", "due", "ends_by",
        "error", "is_complete", "let_go", "received", "resume", "retry_after", "status", "throttle",
    )  # fmt: skip

    def __init__(
        self,
        *,
        whole: bool,
        first: float,
        between: float,
        in_all: float,
        most_bytes: int,
        room: Room | None = None,
    ) -> None:
        now = time.monotonic()
        self.status = 0
        self.retry_after: float | None = None
        self.error: UpstreamFault | None = None
        self.is_complete = False
        self.received = 0
        self.ends_by = now + in_all
        self.due = min(self.ends_by, now + first)
        # Set by the connection: slow the server down, let it go on, and hang up.
        self.throttle: Callable[[], None] = _nothing
        self.resume: Callable[[], None] = _nothing
        self.let_go: Callable[[], None] = _nothing
        self.connection: Connection | None = None
        # Asks once more over another connection, where the first was a kept one.
        self.again: Callable[[], None] | None = None
        self._whole = whole
        self._between = between
        self._most_bytes = most_bytes
        # One piece as it came, or several in one: as objects of their own, small ones take many times their size.
        self._data: bytes | bytearray = b""
        self._room = room
        self._taken = 0
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        return self.is_complete or self.error is not None

    async def read(self) -> bytes:
        """What has arrived since the last time; b"" once all has been read. Raises `UpstreamFault`.

        An error comes after all that arrived before it.
        """
        while not (self._data and (not self._whole or self.is_complete)):
            if self.error is not None:
                raise self.error
            if self.is_complete:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data, self._data = self._data, b""
        if len(data) > HIGH_WATER_BYTES:
            self.resume()
        return bytes(data)

    def add(self, body: bytes) -> None:
        """A piece of the answer's body."""
        self.received += len(body)
        if self.is_over:
            return
        if self.received > self._most_bytes:
            self.fail(UpstreamFault("broken", f"The answer is longer than {self._most_bytes} bytes."))
            self.let_go()
            return
        self.due = min(self.ends_by, time.monotonic() + self._between)
        if not self._data:
            self._data = body
        else:
            if not isinstance(self._data, bytearray):
                self._data = bytearray(self._data)
            self._data += body
        if self._whole:
            self._take_room()
            return
        if len(self._data) > HIGH_WATER_BYTES:
            self.throttle()
        self._wake()

    def give_back(self) -> None:
        """It has been read, or never will be."""
        if self._room is not None:
            self._room.give_back(self._taken)
            self._taken = 0

    def _take_room(self) -> None:
        more = self.received - FREE_BYTES - self._taken
        if self._room is None or more <= 0:
            return
        if self._room.take(more):
            self._taken += more
            return
        self._data = b""
        self.fail(UpstreamFault("overloaded", "Too many long answers are being read at once."))
        self.let_go()

    def complete(self) -> None:
        """The answer is whole."""
        if not self.is_over:
            self.is_complete = True
            self._wake()

    def fail(self, fault: UpstreamFault) -> None:
        """There will be no more of it."""
        if not self.is_over:
            self.error = fault
            self._wake()

    def end_if_late(self, now: float) -> None:
        """Hang up on a server that took too long."""
        if now > self.due and not self.is_over:
            self.fail(UpstreamFault("timeout", "The server did not answer in time."))
            self.let_go()

    def end_within(self, seconds: float) -> None:
        """What has come would do: wait no longer than so for the rest, whatever else comes."""
        self.ends_by = min(self.ends_by, time.monotonic() + seconds)
        self.due = min(self.due, self.ends_by)

    def wait_on(self) -> None:
        """The reader is slow, not the server: its time starts anew."""
        self.due = min(self.ends_by, time.monotonic() + self._between)

    def note_retry_after(self, value: bytes) -> None:
        """The header's seconds, within reason; a date is not worth the trouble."""
        if value.isdigit() and len(value) < 9:
            self.retry_after = min(float(value), MOST_RETRY_AFTER_SECONDS)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _nothing() -> None:
    """Before there is a connection."""
