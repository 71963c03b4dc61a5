"""The engine's step, without its thread: schedule, run, sample, postprocess."""

import logging
import time
import traceback
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace

from inference.engines.base import Chunk, EngineStats, FinishReason, GenerateRequest, Sink, TokenLogprob
from inference.engines.pulse import PANICS_ALLOWED
from inference.engines.text.detokenizer import TextStream, TokenBytes
from inference.engines.text.runner import Runner
from inference.engines.text.sampling import Choice, Chooser, Logprobs, choose
from inference.engines.text.scheduler import Scheduler
from inference.engines.text.sequence import Sequence, Work

logger = logging.getLogger(__name__)
SMALLEST_RETRY = 16


@dataclass(slots=True)
class Flight:
    """A request that has not had its last chunk."""

    sequence: Sequence
    chooser: Chooser
    text: TextStream
    ends: frozenset[int]


@dataclass(slots=True)
class Counters:
    """What `EngineStats` is made from."""

    requests: int = 0
    steps: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    failures: int = 0

    def snapshot(self) -> EngineStats:
        return EngineStats(**{name: getattr(self, name) for name in Counters.__slots__})


@dataclass(slots=True)
class Generator:
    """All requests in flight and the step that moves them on. Used by one thread only.

    Every sampled token counts as output, the one that ends the answer included (end of sequence, or the last
    of a stop string), whether the answer is streamed or not.
    """

    scheduler: Scheduler
    runner: Runner
    token_bytes: TokenBytes
    eos_ids: frozenset[int]
    context_length: int
    vocab_size: int
    device: str
    sink: Sink
    counters: Counters = field(default_factory=Counters)
    flights: dict[str, Flight] = field(default_factory=dict)
    panics: int = 0

    def add(self, request: GenerateRequest) -> None:
        """Take a request in; it waits for its turn."""
        self.counters.requests += 1
        sampling = request.sampling
        limit = min(len(request.prompt_ids) + sampling.max_tokens, self.context_length)
        sequence = Sequence(request, limit)
        try:
            chooser = Chooser(sampling, request.prompt_ids, vocab_size=self.vocab_size, device=self.device)
            text = TextStream(self.token_bytes, sampling.stop, fresh=sampling.fresh)
            ends = self.eos_ids.union(sampling.end_ids) if sampling.end_ids else self.eos_ids
            self.flights[request.id] = Flight(sequence, chooser, text, ends)
        except Exception:  # parameters no one foresaw concern only this request
            logger.exception("request %s could not start", request.id)
            self.counters.failures += 1
            self._emit_last(sequence, Chunk(finish_reason="error", error="The request could not start."))
            return
        self.scheduler.add(sequence)

    def cancel(self, request_id: str) -> None:
        """End a request now, waiting or running; unknown ids are those that ended already."""
        flight = self.flights.get(request_id)
        if flight:
            self._end(flight, "cancelled")

    def end_all(self, error: str) -> None:
        for flight in list(self.flights.values()):
            self._end(flight, "error", error=error)

    def step(self) -> None:
        """Compute and sample one step's work, and emit what it made."""
        works = self.scheduler.plan()
        if works:
            self.counters.steps += 1
            self._run(works)
        elif self.scheduler.waiting:
            # Nobody runs whose end could make room, and still there is none.
            oldest = self.scheduler.waiting[0]
            self._end(self.flights[oldest.request.id], "error", error="There is no room for this request.")

    def _run(self, works: list[Work]) -> None:
        """Run, and on failure run the halves apart, until what fails is one request alone."""
        started = time.perf_counter()
        try:
            chosen = self._compute(works)
        except Exception as error:  # whatever the device raises concerns only these rows
            failure = error
        else:
            self._advance(works, started)
            for work, choice in chosen:
                self._accept(work, choice)
            return
        # The frames of what failed hold all it had computed, perhaps just what memory lacks now.
        traceback.clear_frames(failure.__traceback__)
        self._retry(works, failure)

    def _compute(self, works: list[Work]) -> list[tuple[Work, Choice]]:
        completing, logits = self.runner.run(works)
        choosers = [self.flights[work.sequence.request.id].chooser for work in completing]
        choices = choose(logits, choosers) if choosers else []
        return list(zip(completing, choices, strict=True))

    def _retry(self, works: list[Work], error: Exception) -> None:
        if len(works) > 1:
            middle = len(works) // 2
            self._run(works[:middle])
            self._run(works[middle:])
            return
        work = works[0]
        if work.count > SMALLEST_RETRY:
            # Perhaps too large for the memory left; what remains is for later steps.
            self._run([Work(work.sequence, work.start, work.count // 2)])
            return
        logger.exception("a step failed for request %s", work.sequence.request.id, exc_info=error)
        self._end(self.flights[work.sequence.request.id], "error", error="The model failed on this request.")

    def _advance(self, works: Items[Work], started: float) -> None:
        """Note what is computed, and share the step's time out by tokens."""
        total, seconds = sum(work.count for work in works), time.perf_counter() - started
        self.scheduler.note_speed(total, seconds)
        for work in works:
            work.sequence.computed = work.start + work.count
            if work.start >= work.sequence.counted:
                work.sequence.compute_ms += seconds * 1000 * work.count / total

    def _accept(self, work: Work, choice: Choice) -> None:
        flight = self.flights[work.sequence.request.id]
        if choice.token is None:
            self._end(flight, "error", error="The model's output is not a number for this request.")
            return
        try:
            self._append(flight, choice.token, choice.logprobs)
        except (
            BaseException
        ) as error:  # a sink or a tokenizer that fails for one request must not end the others
            logger.exception("request %s failed", work.sequence.request.id)
            if flight.sequence.request.id in self.flights:
                self._end(flight, "error", error="The answer could not be delivered.")
            self._note_panic(error)

    def _note_panic(self, error: BaseException) -> None:
        """Native code that panics at one request after the other will not do better at the next one."""
        if not isinstance(error, Exception):
            self.panics += 1
            if self.panics >= PANICS_ALLOWED:
                raise error

    def _append(self, flight: Flight, token: int, logprobs: Logprobs | None) -> None:
        sequence = flight.sequence
        sequence.tokens.append(token)
        flight.chooser.note(token)
        if token in flight.ends:
            self._end(flight, "stop")
            return
        shown = flight.text.push(token, self._describe(token, logprobs) if logprobs else None)
        reason: FinishReason | None = "stop" if flight.text.stopped else None
        if reason is None and len(sequence.tokens) >= sequence.limit:
            reason = "length"
        if reason:
            self._end(flight, reason, text=shown)
        elif shown or flight.chooser.sampling.logprobs is not None:
            self.sink.emit(sequence.request.id, Chunk(text=shown, logprobs=flight.text.take_logprobs()))

    def _end(self, flight: Flight, reason: FinishReason, *, text: str = "", error: str | None = None) -> None:
        """Emit the last chunk and free the place. What failed leaves nothing for others to reuse."""
        sequence = flight.sequence
        del self.flights[sequence.request.id]
        try:
            self.scheduler.remove(sequence, keep=reason != "error")
        except Exception:  # a device that fails for good; the caller must still hear of the end
            logger.exception("the place of request %s was not freed", sequence.request.id)
        self._count(sequence, failed=reason == "error")
        try:
            text += flight.text.finish()
            logprobs = flight.text.take_logprobs()
        except BaseException:  # a tokenizer that fails must not cost the request its last chunk
            logger.exception("the end of request %s cannot be written", sequence.request.id)
            reason, error, logprobs = "error", "The answer could not be written.", ()
        if reason != "error":
            self.panics = 0
        last = Chunk(text=text, logprobs=logprobs, finish_reason=reason, error=error)
        self._emit_last(sequence, last)

    def _emit_last(self, sequence: Sequence, chunk: Chunk) -> None:
        try:
            self.sink.emit(sequence.request.id, replace(chunk, usage=_usage(sequence)))
        except Exception:  # nobody is left to tell
            logger.exception("the last chunk of request %s was not delivered", sequence.request.id)

    def _count(self, sequence: Sequence, *, failed: bool) -> None:
        self.counters.input_tokens += sequence.prompt_length
        self.counters.output_tokens += sequence.sampled
        self.counters.cached_tokens += sequence.cached
        self.counters.failures += failed

    def _describe(self, token: int, logprobs: Logprobs) -> TokenLogprob:
        top = tuple(self._token_logprob(other, value) for other, value in logprobs.top)
        return self._token_logprob(token, logprobs.logprob, top)

    def _token_logprob(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        raw = self.token_bytes.raw(token)
        return TokenLogprob(token=raw.decode("utf-8", "replace"), bytes=tuple(raw), logprob=logprob, top=top)


def _usage(sequence: Sequence) -> dict[str, int]:
    return {
        "input_tokens": sequence.prompt_length,
        "output_tokens": sequence.sampled,
        "cached_tokens": sequence.cached,
        "requests": 1,
        "compute_ms": round(sequence.compute_ms),
    }
