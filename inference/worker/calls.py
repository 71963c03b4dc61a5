"""The calls that this worker has taken and not yet finished."""

import threading
import time
from dataclasses import dataclass, field
from uuid import UUID

from billing.credit import settlement
from inference.engines.base import Chunk
from inference.protocol import PAYLOAD_SECONDS
from portal.kit import ids

# A cancellation may overtake the call that it is for; it is kept this long.
EARLY_CANCEL_SECONDS = 30.0


@dataclass(slots=True, kw_only=True)
class Call:
    """`id` is the request's UUIDv7 in hex; `reply` the stream of the web process that waits, `owner` the
    organisation.
    """

    id: str
    version: str
    reply: str
    # Whoever asked waits for the end, so that chunks would only cost; they are kept here until then.
    whole: bool = False
    owner: str = ""
    kept: list[Chunk] = field(default_factory=list)
    chunks: int = 0
    first_at: float | None = None
    taken_at: float = field(default_factory=time.time)

    @property
    def admitted_at(self) -> float:
        """Unix seconds of admission: the request's id was minted then, unless it is older than a payload can
        be. Such an id is a demo call's, minted for a past instant.
        """
        minted_at = ids.born(UUID(hex=self.id)).timestamp()
        return minted_at if self.taken_at - minted_at < PAYLOAD_SECONDS else self.taken_at

    def timings(self) -> settlement.FinishFacts:
        """Milliseconds since admission, to the first chunk and until now."""
        now, start = time.time(), self.admitted_at
        return {
            "ttft_ms": max(0, round(((self.first_at or now) - start) * 1000)),
            "latency_ms": max(0, round((now - start) * 1000)),
        }


class Calls:
    """In flight by request id; safe to use from every thread."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._cancelled: dict[str, float] = {}
        self._settled = threading.Condition()

    def begin(self, call: Call) -> bool:
        """Whether it is new: a message sent again may come while the first one is being carried out."""
        with self._settled:
            return self._calls.setdefault(call.id, call) is call

    def find(self, request: str) -> Call | None:
        return self._calls.get(request)

    def all(self) -> list[Call]:
        with self._settled:
            return list(self._calls.values())

    def end(self, request: str) -> None:
        with self._settled:
            self._calls.pop(request, None)
            self._settled.notify_all()

    def wait_until_none(self, *, timeout: float) -> bool:
        """Whether all calls have ended, their last chunks written, within `timeout` seconds."""
        with self._settled:
            return self._settled.wait_for(lambda: not self._calls, timeout)

    def note_cancel(self, request: str) -> None:
        """Remember a cancellation, since its call may not have reached its engine yet."""
        now = time.monotonic()
        with self._settled:
            self._cancelled[request] = now
            for known, since in list(self._cancelled.items()):
                if now - since > EARLY_CANCEL_SECONDS:
                    del self._cancelled[known]

    def was_cancelled(self, request: str) -> bool:
        """Whether a cancellation came before the call was in its engine. Says so once."""
        with self._settled:
            return self._cancelled.pop(request, None) is not None
