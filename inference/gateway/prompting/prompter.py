"""The parent's side: who may have a prompt prepared now, by which child, and what becomes of a child that dies."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
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
from inference.gateway.prompting.budgets import KILL_SECONDS, SMALL_BYTES, Budgets, excess
from inference.gateway.prompting.children import LENGTH, Child, Limits
from inference.gateway.prompting.line import Job, Line
from marketplace.validation.speed import RENDERING_SECONDS

log = logging.getLogger(__name__)

CPU_SECONDS = 5.0
MEMORY_BYTES = 4 * 2**30
CHARACTER_LIMIT = 8 * 2**20
# A quick job is one of a version that has been quick here, and not too long.
QUICK_BYTES = 64 * 2**10
QUICK_SECONDS = 0.005
QUICK_KEPT = 10_000
IDLE_SECONDS = 60.0
# Deaths that the job at hand has brought about: its timers, and crashes of native code.
OWN_DEATHS = {
    -number for number in (signal.SIGPROF, signal.SIGALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
}
# Any other death, such as by the kernel for want of memory, may be chance once.
DEATHS_ALLOWED = 1


def count_children() -> int:
    """Two at least, four at most, and no more than may fill half of the machine's memory."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2, min(4, memory_bytes // (2 * MEMORY_BYTES)))


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
class Prompter:
    """Owned by one event loop. Starts its children as jobs need them; `close` ends them.

    `cpu_seconds` bounds the processor time of the longest job, `quick_seconds` that of one without much text once its
    tokenizer is loaded, `memory_bytes` a child's address space. `caller` says for whom a job is: callers take turns.
    With `most_tokens`, a text that must come to more is refused before it costs anything. `on_fault(directory, times)`
    hears of tokenizers and templates that have been slow without a reason so many times.
    """

    cpu_seconds: float = CPU_SECONDS
    quick_seconds: float = RENDERING_SECONDS
    memory_bytes: int = MEMORY_BYTES
    most_children: int = field(default_factory=count_children)
    on_fault: Callable[[Path, int], None] = lambda directory, times: None
    _children: list[Child] = field(default_factory=list)
    _lives: set[asyncio.Task[None]] = field(default_factory=set)
    _line: Line = field(default_factory=Line)
    _budgets: Budgets = field(default_factory=Budgets)
    # Tokenizers and kinds of jobs that have taken no longer than their length asks for.
    _quick: dict[tuple[str, str], None] = field(default_factory=dict)
    _closed: bool = False

    async def facts(self, directory: Path, *, caller: str = "") -> TokenizerFacts:
        """Facts of the tokenizer; loads it into a child, so that the first call finds it there."""
        return TokenizerFacts(**await self._run(directory, {"work": "facts"}, caller=caller))

    async def chat(
        self,
        directory: Path,
        messages: Sequence[Mapping[str, str]],
        *,
        caller: str = "",
        most_tokens: int = 0,
    ) -> list[int]:
        """Token ids of the rendered messages with the prompt for an answer.

        Raises `NoChatTemplate`, `PromptRefused` (the template's own words), `PromptTooLong`, `PromptTooExpensive` or
        `PromptBudgetSpent`.
        """
        job = {"work": "chat", "messages": messages, "character_limit": CHARACTER_LIMIT}
        ids: list[int] = await self._run(directory, job | {"most_tokens": most_tokens}, caller=caller)
        return ids

    async def encode(
        self, directory: Path, texts: Sequence[str], *, caller: str = "", most_tokens: int = 0
    ) -> list[list[int]]:
        """Token ids of plain texts, with the special tokens that the tokenizer adds by itself.

        Raises `PromptTooLong`, `PromptTooExpensive` or `PromptBudgetSpent`.
        """
        job = {"work": "encode", "texts": texts, "most_tokens": most_tokens}
        ids: list[list[int]] = await self._run(directory, job, caller=caller)
        return ids

    async def decode(self, directory: Path, ids: Sequence[int], *, caller: str = "") -> str:
        """The text of token ids, special tokens left out."""
        text: str = await self._run(directory, {"work": "decode", "ids": ids}, caller=caller)
        return text

    async def close(self) -> None:
        """End the children; jobs that still wait are cancelled."""
        self._closed = True
        for child in list(self._children):
            await child.end()
        await asyncio.gather(*self._lives, return_exceptions=True)
        for job in self._line:
            job.answer.cancel()

    async def _run(self, directory: Path, work: dict[str, Any], *, caller: str) -> Any:
        name = str(directory)
        self._budgets.check(caller, name)
        body = msgpack.packb(work | {"directory": name})
        job = Job(
            directory=name, caller=caller, kind=work["work"], frame=LENGTH.pack(len(body)) + body,
            answer=asyncio.get_running_loop().create_future(),
        )  # fmt: skip
        self._line.enter(job)
        self._hand_out()
        return _unwrap(await job.answer, most_tokens=work.get("most_tokens", 0))

    def _hand_out(self) -> None:
        """Give what waits to children that take it, and start one where that would help."""
        while self._line and (job := self._line.take(self._has_place)) is not None:
            child = self._place_of(job)
            assert child is not None
            child.give(job)
        self._start_where_needed()

    def _has_place(self, job: Job) -> bool:
        job.is_quick = (
            (job.directory, job.kind) in self._quick
            and len(job.frame) <= QUICK_BYTES
            and not self._budgets.is_suspect(job.caller, job.directory)
        )
        return self._place_of(job) is not None

    def _place_of(self, job: Job) -> Child | None:
        """The first child that takes it, better one that knows the tokenizer; None while the job has to wait.

        What may be slow leaves one child to the quick, and its caller leaves one more to others.
        """
        if not job.is_quick:
            slow = [child.jobs[0].caller for child in self._children if child.jobs and not child.is_quick]
            if len(slow) >= self.most_children - 1 or slow.count(job.caller) >= max(
                1, self.most_children - 2
            ):
                return None
        taking = [child for child in self._children if child.takes(job)]
        return next(
            (child for child in taking if job.directory in child.known), taking[0] if taking else None
        )

    def _start_where_needed(self) -> None:
        if not self._line or self._closed or len(self._children) >= self.most_children:
            return
        if any(child.process is None for child in self._children):
            return  # one is being started
        child = Child()
        self._children.append(child)
        task = asyncio.get_running_loop().create_task(self._live(child))
        self._lives.add(task)
        task.add_done_callback(self._lives.discard)

    async def _live(self, child: Child) -> None:
        """A child from its start to its end, whatever brings that about."""
        status = None
        try:
            limits = Limits(
                cpu_seconds=self.cpu_seconds, quick_seconds=self.quick_seconds, memory_bytes=self.memory_bytes
            )
            await child.start(limits)
            self._hand_out()
            status = await child.read(self._take)
        except OSError as error:
            log.error("a child that prepares prompts could not be started: %s", error)
        finally:
            self._children.remove(child)
            await child.end()
            self._bury(child, status)

    def _take(self, child: Child, job: Job, answer: dict[str, Any]) -> None:
        seconds, loading, size = answer.pop("seconds"), answer.pop("loading"), len(job.frame)
        if not job.answer.done():
            job.answer.set_result(answer)
        self._line.charge(job.caller, seconds)
        if answer.get("error") == "expensive":
            self._note_fault(job, seconds=seconds)
        elif excess(seconds - loading, size=size, usual=QUICK_SECONDS):
            self._budgets.suspect(job.caller, job.directory)
            self._budgets.charge(job.caller, job.directory, excess(seconds - loading, size=size))
        elif (job.directory, job.kind) not in self._quick:
            self._quick[job.directory, job.kind] = None
            if len(self._quick) > QUICK_KEPT:
                del self._quick[next(iter(self._quick))]
        self._hand_out()
        self._end_idle()

    def _note_fault(self, job: Job, *, seconds: float) -> None:
        self._budgets.suspect(job.caller, job.directory)
        self._budgets.charge(job.caller, job.directory, seconds)
        if len(job.frame) <= SMALL_BYTES and (times := self._budgets.note_fault(job.directory)):
            # What takes long without much of a prompt is the version's own fault, whoever asks.
            self.on_fault(Path(job.directory), times)

    def _end_idle(self) -> None:
        """A child that nobody has needed for a while ends by itself once nothing more comes; one stays."""
        since = time.monotonic() - IDLE_SECONDS
        for child in self._children[1:]:
            if child.is_free and child.idle_since < since:
                child.let_go()

    def _bury(self, child: Child, status: int | None) -> None:
        """The child ended: end the job that killed it too, and give the others to another one.

        The first of its jobs may also have come when it was dead already, or be a victim itself.
        """
        jobs = child.jobs
        if self._closed:
            for job in jobs:
                job.answer.cancel()
            return
        if status is None:
            self._refuse([*jobs, *(self._line if not self._children else ())])
            return
        if jobs and status != 0:
            first = jobs[0]
            first.deaths += 1
            if status in OWN_DEATHS or first.deaths > DEATHS_ALLOWED:
                self._convict(jobs.popleft())
        for job in reversed(jobs):
            self._line.put_back(job)
        self._hand_out()

    def _refuse(self, jobs: list[Job]) -> None:
        """What no child will answer. Those among them that stand in line leave it when it is their turn."""
        for job in jobs:
            if not job.answer.done():
                reason = "Prompts cannot be prepared at the moment. Please try again."
                job.answer.set_exception(ServiceUnavailable(reason=reason, retry_after=5))

    def _convict(self, culprit: Job) -> None:
        self._quick.pop((culprit.directory, culprit.kind), None)
        seconds = time.monotonic() - culprit.given_at + KILL_SECONDS
        self._line.charge(culprit.caller, seconds)
        self._note_fault(culprit, seconds=min(seconds, self.cpu_seconds + KILL_SECONDS))
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
