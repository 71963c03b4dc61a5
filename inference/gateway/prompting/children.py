"""One child process as the parent sees it: the jobs that it has been given, its answers in their order, its end."""

import asyncio
import contextlib
import os
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from inference.gateway.prompting.line import Job

# Quick jobs are sent ahead of the answers to those before them, but only so many: a slow one among them keeps the
# others waiting.
AHEAD = 8
# By then the kernel has ended whatever runs too long; who still has not answered was stopped from outside.
STUCK_SECONDS = 120.0
LENGTH = struct.Struct("<I")
_PROJECT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of a child: processor seconds of its longest and of an ordinary job, bytes of its address space."""

    cpu_seconds: float
    quick_seconds: float
    memory_bytes: int


class Child:
    """Owned by one event loop."""

    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None
        self.jobs: deque[Job] = deque()
        self.known: set[str] = set()
        self.idle_since = time.monotonic()
        self.is_leaving = False

    async def start(self, limits: Limits) -> None:
        """Raises `OSError`."""
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(_PROJECT)}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "inference.gateway.prompting.child", str(limits.cpu_seconds),
            str(limits.quick_seconds), str(limits.memory_bytes), stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, env=environment,
        )  # fmt: skip

    @property
    def is_free(self) -> bool:
        return self.process is not None and not self.jobs and not self.is_leaving

    def takes(self, job: Job) -> bool:
        """Whether the job would not wait here for long. What may be slow runs alone."""
        if self.process is None or self.is_leaving:
            return False
        if not self.jobs:
            return True
        return job.is_quick and job.directory in self.known and len(self.jobs) < AHEAD and self.is_quick

    @property
    def is_quick(self) -> bool:
        """Whether all that it has been given is quick."""
        return all(job.is_quick for job in self.jobs)

    def give(self, job: Job) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        job.given_at = time.monotonic()
        self.jobs.append(job)
        self.process.stdin.write(job.frame)

    def let_go(self) -> None:
        """It ends by itself: nothing more comes."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.is_leaving = True
        self.process.stdin.close()

    async def read(self, on_answer: Callable[["Child", Job, dict[str, Any]], None]) -> int:
        """Hand every answer over until the child ends, or is stuck; its exit status."""
        process = self.process
        assert process is not None
        assert process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await self._read_head(process.stdout):
                answer = msgpack.unpackb(await process.stdout.readexactly(LENGTH.unpack(head)[0]))
                job = self.jobs.popleft()
                self.known.add(job.directory)
                self.idle_since = time.monotonic()
                on_answer(self, job, answer)
        return await process.wait()

    async def end(self) -> None:
        """Kill it, whatever it does."""
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()

    async def _read_head(self, stdout: asyncio.StreamReader) -> bytes:
        while True:
            try:
                async with asyncio.timeout(STUCK_SECONDS):
                    return await stdout.readexactly(LENGTH.size)
            except TimeoutError:
                if self.jobs and time.monotonic() - self.jobs[0].given_at > STUCK_SECONDS:
                    await self.end()
