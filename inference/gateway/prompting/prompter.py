"""The parent's side: jobs to the child in order, answers back in order, a new child after a kill."""

import asyncio
import contextlib
import os
import signal
import struct
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from inference.gateway.errors import (
    CallError,
    NoChatTemplate,
    PromptRefused,
    PromptTooExpensive,
    ServiceUnavailable,
)
from inference.gateway.prompting.line import Job, Line

CPU_SECONDS = 5.0
MEMORY_BYTES = 4 * 2**30
CHARACTER_LIMIT = 8 * 2**20
# A caller whose calls of a version keep killing the child is not served for a while: all share the child.
OFFENCES_ALLOWED = 3
QUARANTINE_SECONDS = 60.0
# Deaths that the job at hand has brought about: its timers, and crashes of native code.
OWN_DEATHS = {
    -number for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
}
# Any other death, such as by the kernel for want of memory, may be chance once.
DEATHS_ALLOWED = 1
OFFENDERS_KEPT = 1_000
_LENGTH = struct.Struct("<I")
_PROJECT = Path(__file__).resolve().parents[3]


class TokenizerMissing(ServiceUnavailable):
    """The directory has gone from this machine's cache; it must be fetched again."""

    def __init__(self) -> None:
        super().__init__(
            reason="This model's tokenizer is being fetched again. Please try again.", retry_after=1
        )


class PromptTooLong(CallError):
    """Known by its length alone: its tokens were not counted."""

    code = "context_length_exceeded"
    message = "This model's maximum context length is {limit} tokens. However, your input has at least {least} tokens."


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What the gateway must know of a tokenizer: token ids lie below `vocabulary`, and `turn_ends` end an answer
    in a chat beside the ends that the model names itself.
    """

    vocabulary: int
    has_template: bool
    turn_ends: tuple[int, ...] = ()


@dataclass(slots=True)
class Offences:
    """Which callers killed the child with which version, and when. Bounded."""

    _times: OrderedDict[tuple[str, str], list[float]] = field(default_factory=OrderedDict)

    def record(self, job: Job) -> None:
        offender = (job.caller, job.directory)
        recent = [*self._times.pop(offender, []), time.monotonic()]
        self._times[offender] = recent[-OFFENCES_ALLOWED:]
        if len(self._times) > OFFENDERS_KEPT:
            self._times.popitem(last=False)

    def excludes(self, caller: str, directory: str) -> bool:
        times = self._times.get((caller, directory))
        if times is None or len(times) < OFFENCES_ALLOWED:
            return False
        return time.monotonic() - times[0] < QUARANTINE_SECONDS


@dataclass(slots=True)
class Prompter:
    """Owned by one event loop. Starts its child on the first job; `close` ends it.

    `cpu_seconds` bounds each job's processor time, `memory_bytes` the child's address space. `caller` says
    for whom a job is, so that one caller's jobs cannot keep all others waiting. With `most_tokens`, a text that
    must come to more is refused before it costs anything.
    """

    cpu_seconds: float = CPU_SECONDS
    memory_bytes: int = MEMORY_BYTES
    _child: asyncio.subprocess.Process | None = None
    _jobs: Line = field(default_factory=Line)
    _reader: asyncio.Task[None] | None = None
    _offences: Offences = field(default_factory=Offences)
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closed: bool = False

    async def facts(self, directory: Path) -> TokenizerFacts:
        """Facts of the tokenizer; loads it into the child, so that the first call finds it there."""
        return TokenizerFacts(**await self._run(directory, {"work": "facts"}))

    async def chat(
        self,
        directory: Path,
        messages: Sequence[Mapping[str, str]],
        *,
        caller: str = "",
        most_tokens: int = 0,
    ) -> list[int]:
        """Token ids of the rendered messages with the prompt for an answer.

        Raises `NoChatTemplate`, `PromptRefused` (the template's own words), `PromptTooLong` or
        `PromptTooExpensive`.
        """
        job = {"work": "chat", "messages": messages, "character_limit": CHARACTER_LIMIT}
        ids: list[int] = await self._run(directory, job | {"most_tokens": most_tokens}, caller=caller)
        return ids

    async def encode(
        self, directory: Path, texts: Sequence[str], *, caller: str = "", most_tokens: int = 0
    ) -> list[list[int]]:
        """Token ids of plain texts, with the special tokens that the tokenizer adds by itself.

        Raises `PromptTooLong` or `PromptTooExpensive`.
        """
        job = {"work": "encode", "texts": texts, "most_tokens": most_tokens}
        ids: list[list[int]] = await self._run(directory, job, caller=caller)
        return ids

    async def decode(self, directory: Path, ids: Sequence[int], *, caller: str = "") -> str:
        """The text of token ids, special tokens left out."""
        text: str = await self._run(directory, {"work": "decode", "ids": ids}, caller=caller)
        return text

    async def close(self) -> None:
        """End the child; jobs that still wait are cancelled."""
        self._closed = True
        if self._child is not None and self._child.returncode is None:
            self._child.kill()
            await self._child.wait()
        if self._reader is not None:
            await self._reader

    async def _run(self, directory: Path, work: dict[str, Any], *, caller: str = "") -> Any:
        name = str(directory)
        if self._offences.excludes(caller, name):
            raise PromptTooExpensive
        body = msgpack.packb(work | {"directory": name})
        answer = asyncio.get_running_loop().create_future()
        job = Job(directory=name, caller=caller, frame=_LENGTH.pack(len(body)) + body, answer=answer)
        self._jobs.enter(job)
        if self._child is None:
            await self._start()
        else:
            self._send(job)
        await self._drain()
        return _unwrap(await job.answer, most_tokens=work.get("most_tokens", 0))

    async def _drain(self) -> None:
        # A child that died gets a successor, to which every job is sent again.
        with contextlib.suppress(ConnectionError):
            if self._child is not None and self._child.stdin is not None:
                await self._child.stdin.drain()

    def _send(self, job: Job) -> None:
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.write(job.frame)

    async def _start(self) -> None:
        """Start a child and give it every job that waits: the order of jobs is the order of answers."""
        async with self._starting:
            if self._child is not None or self._closed:
                return
            environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(_PROJECT)}
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "inference.gateway.prompting.child", str(self.cpu_seconds),
                str(self.memory_bytes), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env=environment,
            )  # fmt: skip
            for job in self._jobs:
                self._send(job)
            self._reader = asyncio.create_task(self._read(self._child))

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await child.stdout.readexactly(_LENGTH.size)
                body = await child.stdout.readexactly(_LENGTH.unpack(head)[0])
                job = self._jobs.leave()
                if not job.answer.done():
                    job.answer.set_result(msgpack.unpackb(body))
        await self._replace(await child.wait())

    async def _replace(self, status: int) -> None:
        """The child died: end the job that killed it, and give the others to a new one.

        The first of the line may also have come when the child was dead already, or be a victim itself.
        """
        self._child = None
        if self._closed:
            for job in self._jobs:
                job.answer.cancel()
            return
        if self._jobs:
            first = self._jobs.first
            first.deaths += 1
            if status in OWN_DEATHS or first.deaths > DEATHS_ALLOWED:
                self._convict(self._jobs.leave())
        if self._jobs:
            await self._start()

    def _convict(self, culprit: Job) -> None:
        self._offences.record(culprit)
        if not culprit.answer.done():
            culprit.answer.set_exception(PromptTooExpensive())


def _unwrap(answer: dict[str, Any], *, most_tokens: int) -> Any:
    if "ok" in answer:
        return answer["ok"]
    if answer["error"] == "too_long":
        raise PromptTooLong(limit=most_tokens, least=answer["reason"])
    if answer["error"] == "no_template":
        raise NoChatTemplate
    if answer["error"] == "missing":
        raise TokenizerMissing
    if answer["error"] == "expensive":
        raise PromptTooExpensive
    if answer["error"] == "unreadable":
        raise ServiceUnavailable(reason=f"This model's tokenizer cannot be used: {answer['reason']}")
    raise PromptRefused(reason=answer["reason"])
