"""One call between its admission and its end: where the relay leaves what arrives, and a door waits."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from billing.credit.admission import Admitted
from billing.credit.facts import CallFacts
from inference.gateway.errors import CallError
from portal.kit import ids

if TYPE_CHECKING:
    from inference.gateway.lookup import Caller

# Unread answer that a call may pile up for a client that does not read, in bytes, roughly.
BACKLOG_BYTES = 8 * 2**20
_LOGPROB_BYTES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The final as recorded: `charge` in micro-minor units, `quantities` by meter."""

    outcome: str
    finish_reason: str
    charge: int
    quantities: dict[str, int]
    output: Any = None
    error: str | None = None
    reasoning_tokens: int = 0


@dataclass(slots=True)
class Piece:
    """What has arrived since the last look: text, the log-probabilities that belong to it, and what was said beside
    it (reasoning, a refusal) by the name of its field.
    """

    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    beside: Mapping[str, str] = field(default_factory=dict)


class Run(Protocol):
    """Who carries a relayed call: `leave` when its client has gone, `stop` to give it up free of charge."""

    def leave(self) -> None: ...

    def stop(self, failure: CallError) -> None: ...


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """Written by the relay, read by one door. Pieces that nobody has fetched yet are joined, so a slow
    client costs no more than its answer; beyond `BACKLOG_BYTES` the run is cancelled.
    """

    id: UUID
    version: str
    facts: CallFacts
    admitted: Admitted
    caller: "Caller"
    endpoint: str
    streamed: bool
    born: float = field(default_factory=time.monotonic)
    worker: str | None = None
    # Of a remote version; the calls of all others are carried by a worker.
    run: Run | None = None
    # Somebody wants it stopped, and: its worker has been told.
    cancelled: bool = False
    stop_asked: bool = False
    gone: bool = False
    ending: Ending | None = None
    failure: CallError | None = None
    # Why the right to it has ended while it ran, and the epochs with which it was last found in order.
    revocation: CallError | None = None
    epochs: tuple[tuple[str, int], ...] = ()
    seen_epochs: tuple[tuple[str, int], ...] = ()
    chunks_seen: int = 0
    overdue: int = 0
    attached: bool = False
    hold_lost: bool = False
    # Redis knew nothing of it when it ended, or was away: it may have no event.
    unrecorded: bool = False
    backlog: int = 0
    _text: list[str] = field(default_factory=list)
    _logprobs: list[dict[str, Any]] = field(default_factory=list)
    _beside: dict[str, list[str]] = field(default_factory=dict)
    _waiter: asyncio.Future[None] | None = None
    _writer: asyncio.Future[None] | None = None
    hex: str = field(init=False)
    # The id in public form, without a prefix.
    code: str = field(init=False)

    def __post_init__(self) -> None:
        self.hex = self.id.hex
        self.code = ids.encode(self.id)
        self.epochs = self.facts.epochs

    @property
    def public_id(self) -> str:
        return f"req_{self.code}"

    @property
    def is_over(self) -> bool:
        return self.ending is not None or self.failure is not None

    @property
    def age(self) -> float:
        """Seconds since admission."""
        return time.monotonic() - self.born

    def add(
        self, text: str, logprobs: list[dict[str, Any]] | None, beside: Mapping[str, str] | None = None
    ) -> None:
        if beside:
            for name, said in beside.items():
                self._beside.setdefault(name, []).append(said)
                self.backlog += len(said)
        if text:
            self._text.append(text)
        if logprobs:
            self._logprobs.extend(logprobs)
            self.backlog += sum(_LOGPROB_BYTES * (1 + len(entry.get("top") or ())) for entry in logprobs)
        self.backlog += len(text)
        self.wake()

    def end(self, ending: Ending) -> None:
        self.ending = ending
        self.wake()

    def fail(self, failure: CallError) -> None:
        """The failure is the caller's to read, under the id that the request log knows."""
        if not self.is_over:
            failure.request_id = self.public_id
            self.failure = failure
            self.wake()

    def hang_up(self) -> None:
        """The client has gone away."""
        self.gone = True
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def fetch(self) -> Piece | None:
        """Everything that has arrived since the last look, or None."""
        if not (self._text or self._logprobs or self._beside):
            return None
        piece = Piece("".join(self._text), self._logprobs)
        if self._beside:
            piece.beside = {name: "".join(said) for name, said in self._beside.items()}
            self._beside = {}
        self._text, self._logprobs, self.backlog = [], [], 0
        self.note_fetched()
        return piece

    async def wait_fetched(self) -> None:
        """For a writer that is ahead of a slow client: until the client's door has fetched what there is."""
        self._writer = asyncio.get_running_loop().create_future()
        await self._writer

    def note_fetched(self) -> None:
        """Let the writer go on."""
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    async def wait(self, *, seconds: float | None = None) -> bool:
        """Until something has arrived, the call is over or the client gone; False after `seconds`."""
        if self._text or self._logprobs or self._beside or self.is_over or self.gone:
            return True
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        if seconds is None:
            await waiter
            return True
        timer = asyncio.get_running_loop().call_later(seconds, _expire, waiter)
        try:
            await waiter
        except TimeoutError:
            return False
        finally:
            timer.cancel()
        return True

    async def wait_end(self) -> None:
        """Until the call is over or the client gone; what arrives meanwhile stays to be fetched."""
        while not (self.is_over or self.gone):
            waiter = self._waiter = asyncio.get_running_loop().create_future()
            await waiter


def _expire(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
