"""A circuit: a server that fails time after time is left alone for a while, then tried by one call."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

FAILURES_ALLOWED = 5
FIRST_REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 60.0

State = Literal["closed", "open", "half-open"]


@dataclass(slots=True)
class Circuit:
    """Closed lets every call through, open none, half-open a single one. Each failure in a row that opens it
    doubles the rest.
    """

    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    last_fault: str = ""
    _rests: int = 0
    _open_until: float = 0.0
    _probing: bool = field(default=False)

    @property
    def state(self) -> State:
        if not self._rests:
            return "closed"
        return "open" if self.clock() < self._open_until or self._probing else "half-open"

    @property
    def rests_for(self) -> float:
        """Seconds until it may be tried again."""
        return max(0.0, self._open_until - self.clock())

    def enter(self) -> bool:
        """Whether a call may pass. In the half-open state the first one is the probe."""
        if not self._rests:
            return True
        if self.state != "half-open":
            return False
        self._probing = True
        return True

    def succeed(self) -> None:
        """The server has answered."""
        self.failures = self._rests = 0
        self._probing = False
        self.last_fault = ""

    def fail(self, fault: str) -> None:
        """The server is at fault."""
        self.failures += 1
        self.last_fault = fault
        was_probe, self._probing = self._probing, False
        if was_probe or (self.failures >= FAILURES_ALLOWED and not self._rests):
            self._rests += 1
            rest = min(LONGEST_REST_SECONDS, FIRST_REST_SECONDS * 2 ** (self._rests - 1))
            self._open_until = self.clock() + rest

    def leave(self) -> None:
        """A call ended that says nothing about the server."""
        self._probing = False
