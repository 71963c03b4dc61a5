"""The jobs that wait for a child: bounded in number and bytes, for all callers together and for each.

Callers take turns by the processor time that their jobs have taken: whoever has had least is next. So one with slow
jobs delays another by one of them, not by its whole backlog.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from inference.gateway.errors import CallError, ServiceUnavailable

JOBS = 2_000
BYTES = 64 * 2**20
JOBS_PER_CALLER = 500
BYTES_PER_CALLER = 4 * 2**20
# Callers whose turns are remembered though nothing of theirs waits.
CALLERS_KEPT = 1_000


class TooManyPrompts(CallError):
    status = 429
    code = "rate_limit_exceeded"
    message = "Too many prompts of your organisation wait to be prepared. Please try again in a moment."


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """`directory` holds the tokenizer, `caller` is who asks, `kind` for what. `deaths` counts children that ended at this job.
    `is_quick` says that it is expected to take no longer than its length asks for.
    """

    directory: str
    caller: str
    kind: str
    frame: bytes
    answer: asyncio.Future[Any]
    is_quick: bool = False
    deaths: int = 0
    given_at: float = 0.0


@dataclass(slots=True)
class Line:
    """Turns between callers; of each, first come, first served."""

    _jobs: dict[str, deque[Job]] = field(default_factory=dict)
    _count: int = 0
    _bytes: int = 0
    _bytes_of: Counter[str] = field(default_factory=Counter)
    _seconds: dict[str, float] = field(default_factory=dict)
    _now: float = 0.0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Job]:
        return (job for jobs in self._jobs.values() for job in jobs)

    def enter(self, job: Job) -> None:
        """Raises `TooManyPrompts` or `ServiceUnavailable`. A caller of whom nothing waits may bring any size."""
        size = len(job.frame)
        if self._count and (self._count >= JOBS or self._bytes + size > BYTES):
            raise ServiceUnavailable(
                reason="Too many prompts wait to be prepared. Please try again.", retry_after=1
            )
        theirs = len(self._jobs.get(job.caller, ()))
        if theirs and (theirs >= JOBS_PER_CALLER or self._bytes_of[job.caller] + size > BYTES_PER_CALLER):
            raise TooManyPrompts(retry_after=1)
        self._insert(job).append(job)

    def put_back(self, job: Job) -> None:
        """A job whose child ended is the next of its caller."""
        self._insert(job).appendleft(job)

    def take(self, fits: Callable[[Job], bool]) -> Job | None:
        """The job whose turn it is among those for which there is a place now."""
        for caller in sorted(self._jobs, key=self._turn):
            job = self._first(caller)
            if job is not None and fits(job):
                self._now = max(self._now, self._turn(caller))
                self._remove(job)
                return job
        return None

    def charge(self, caller: str, seconds: float) -> None:
        """A job of the caller has taken so much time of a child."""
        self._seconds[caller] = self._turn(caller) + seconds
        if len(self._seconds) > CALLERS_KEPT:
            # Who is behind the present turn has no more than a newcomer.
            self._seconds = {name: had for name, had in self._seconds.items() if had > self._now}

    def _turn(self, caller: str) -> float:
        # Being away saves up nothing.
        return max(self._now, self._seconds.get(caller, 0.0))

    def _first(self, caller: str) -> Job | None:
        """The caller's next job; those that nobody waits for any more are dropped."""
        jobs = self._jobs[caller]
        while jobs[0].answer.done():
            self._remove(jobs[0])
            if not jobs:
                return None
        return jobs[0]

    def _insert(self, job: Job) -> deque[Job]:
        self._count += 1
        self._bytes += len(job.frame)
        self._bytes_of[job.caller] += len(job.frame)
        return self._jobs.setdefault(job.caller, deque())

    def _remove(self, job: Job) -> None:
        jobs = self._jobs[job.caller]
        jobs.popleft()
        self._count -= 1
        self._bytes -= len(job.frame)
        self._bytes_of[job.caller] -= len(job.frame)
        if not jobs:
            del self._jobs[job.caller], self._bytes_of[job.caller]
