"""The jobs that wait for the child: bounded in number and bytes, for all callers together and for each."""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inference.gateway.errors import CallError, ServiceUnavailable

JOBS = 2_000
BYTES = 64 * 2**20
# The child works at some megabytes a second, and what one caller has waiting is what the others wait for.
JOBS_PER_CALLER = 500
BYTES_PER_CALLER = 4 * 2**20


class TooManyPrompts(CallError):
    status = 429
    code = "rate_limit_exceeded"
    message = "Too many prompts of your organisation wait to be prepared. Please try again in a moment."


@dataclass(slots=True, kw_only=True)
class Job:
    """`directory` holds the tokenizer, `caller` is who asks. `deaths` counts children that ended at this job."""

    directory: str
    caller: str
    frame: bytes
    answer: asyncio.Future[Any]
    deaths: int = 0


@dataclass(slots=True)
class Line:
    """First come, first served."""

    _jobs: deque[Job] = field(default_factory=deque)
    _bytes: int = 0
    _jobs_of: Counter[str] = field(default_factory=Counter)
    _bytes_of: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs)

    @property
    def first(self) -> Job:
        """The job that the child is at, or will be."""
        return self._jobs[0]

    def enter(self, job: Job) -> None:
        """Raises `TooManyPrompts` or `ServiceUnavailable`. A caller of whom nothing waits may bring any size."""
        size = len(job.frame)
        if self._jobs and (len(self._jobs) >= JOBS or self._bytes + size > BYTES):
            raise ServiceUnavailable(
                reason="Too many prompts wait to be prepared. Please try again.", retry_after=1
            )
        theirs = self._jobs_of[job.caller]
        if theirs and (theirs >= JOBS_PER_CALLER or self._bytes_of[job.caller] + size > BYTES_PER_CALLER):
            raise TooManyPrompts(retry_after=1)
        self._jobs.append(job)
        self._count(job, 1)

    def leave(self) -> Job:
        """The first job, which waits no longer."""
        job = self._jobs.popleft()
        self._count(job, -1)
        return job

    def _count(self, job: Job, sign: int) -> None:
        size = sign * len(job.frame)
        self._bytes += size
        self._jobs_of[job.caller] += sign
        self._bytes_of[job.caller] += size
        if not self._jobs_of[job.caller]:
            del self._jobs_of[job.caller], self._bytes_of[job.caller]
