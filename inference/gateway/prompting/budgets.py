"""What callers and versions may cost the children beyond what the lengths of their prompts explain.

A prompt may take time by its length and costs nothing then. What it takes longer, as with a slow template, comes out
of three budgets that fill again with time: of the caller for that version, of the caller, and of the version.
"""

import math
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from inference.gateway.errors import CallError

# What preparing a prompt may take on a slow machine: so much at least, and for each byte.
USUAL_SECONDS = 0.01
SECONDS_PER_BYTE = 2e-6
# Who has had a slow prompt for a version is not expected to be quick with it for so long.
SUSPECT_SECONDS = 10.0
# A killed child is missed for as long as the next one takes to start.
KILL_SECONDS = 0.75
KEPT = 5_000
# Prompts of at most so many bytes that are slow all the same are the version's fault: so many within so long.
SMALL_BYTES = 4_096
FAULTS_ALLOWED = 5
FAULT_SECONDS = 600.0


class PromptBudgetSpent(CallError):
    status = 429
    code = "rate_limit_exceeded"
    message = (
        "Preparing {whose} has taken {most} s more processor time than their lengths explain, which is the limit. "
        "Please try again in {seconds} s."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most `most` seconds at once, and `rate` of them again in a second."""

    whose: str
    most: float
    rate: float


OF_BOTH = Budget(whose="your organisation's prompts for this model", most=3.0, rate=0.2)
OF_CALLER = Budget(whose="your organisation's prompts", most=6.0, rate=0.5)
OF_VERSION = Budget(whose="prompts for this model", most=6.0, rate=0.5)


def excess(seconds: float, *, size: int, usual: float = USUAL_SECONDS) -> float:
    """How much of the time a prompt of `size` bytes does not explain."""
    return max(0.0, seconds - usual - size * SECONDS_PER_BYTE)


@dataclass(slots=True)
class Budgets:
    """What has been spent of them. Bounded."""

    _spent: OrderedDict[tuple[str, str], tuple[float, float]] = field(default_factory=OrderedDict)
    _suspects: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)
    _faults: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def check(self, caller: str, directory: str) -> None:
        """Raises `PromptBudgetSpent` if one of the three is used up."""
        if not self._spent:
            return
        for key, budget in _budgets(caller, directory):
            over = self._left_of(key, budget) - budget.most
            if over >= 0:
                seconds = max(1, math.ceil(over / budget.rate))
                raise PromptBudgetSpent(
                    whose=budget.whose, most=f"{budget.most:g}", seconds=seconds, retry_after=seconds
                )

    def is_suspect(self, caller: str, directory: str) -> bool:
        """Whether the caller's prompts for that version have been slow of late."""
        since = self._suspects.get((caller, directory)) if self._suspects else None
        return since is not None and time.monotonic() - since < SUSPECT_SECONDS

    def suspect(self, caller: str, directory: str) -> None:
        """Note that a prompt was slow."""
        self._suspects[caller, directory] = time.monotonic()
        self._suspects.move_to_end((caller, directory))
        if len(self._suspects) > KEPT:
            self._suspects.popitem(last=False)

    def charge(self, caller: str, directory: str, seconds: float) -> None:
        """Note what a prompt took beyond the usual."""
        if not seconds:
            return
        now = time.monotonic()
        for key, budget in _budgets(caller, directory):
            self._spent[key] = (self._left_of(key, budget) + seconds, now)
            self._spent.move_to_end(key)
        while len(self._spent) > KEPT:
            self._spent.popitem(last=False)

    def note_fault(self, directory: str) -> int:
        """A small prompt was slow: how many of late, once they are too many, and 0 before."""
        now = time.monotonic()
        times = self._faults.setdefault(directory, deque(maxlen=FAULTS_ALLOWED))
        self._faults.move_to_end(directory)
        times.append(now)
        if len(self._faults) > KEPT:
            self._faults.popitem(last=False)
        if len(times) < FAULTS_ALLOWED or now - times[0] > FAULT_SECONDS:
            return 0
        del self._faults[directory]
        return FAULTS_ALLOWED

    def _left_of(self, key: tuple[str, str], budget: Budget) -> float:
        """What is spent and has not come back yet."""
        spent, at = self._spent.get(key, (0.0, 0.0))
        return max(0.0, spent - (time.monotonic() - at) * budget.rate) if spent else 0.0


def _budgets(caller: str, directory: str) -> tuple[tuple[tuple[str, str], Budget], ...]:
    return (
        ((caller, directory), OF_BOTH),
        ((caller, ""), OF_CALLER),
        (("", directory), OF_VERSION),
    )
