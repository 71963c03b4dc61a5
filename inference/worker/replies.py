"""The way of answers from engines to web processes.

An engine's thread only appends to a list; a thread of our own writes. All that one engine step produced is
one pipeline: one stream entry per web process with its chunks, then one finish script per request that
ended, so that the final chunk, the usage event and the release of the hold are one Redis transaction.
When Redis goes away, or takes no writes, the same pipeline is tried until it passes: chunks are numbered and
the finish script acts once, so writing again does no harm.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from uuid import UUID

import redis
from redis.exceptions import NoScriptError

from billing.credit import scripting, settlement
from billing.reasons import Reason
from inference import protocol
from inference.engines.base import Chunk
from inference.worker.calls import Call, Calls
from inference.worker.journal import open_journal
from portal.kit import supervision
from portal.kit.redis import EVEN_IF_FULL, is_passing

log = logging.getLogger(__name__)

REPLY_STREAM_SECONDS = 600
MAX_RETRY_SECONDS = 1.0
# A script, so that a Redis that is full takes the chunks of a call as it takes the call's end: a final that
# overtook them would be an answer with a hole.
CHUNKS = f"""{EVEN_IF_FULL}
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'b', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
OUTCOMES: Mapping[str, settlement.FinishedAs] = {"error": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk on its way, numbered when it was emitted; `refused` as in `protocol.Final`, `why` of one that fails."""

    call: Call
    index: int
    chunk: Chunk
    refused: bool = False
    why: str = ""


class VersionSink:
    """The `Sink` of one engine: a step's chunks, handed over at its end. Used by the engine's thread only."""

    def __init__(self, replies: "Replies") -> None:
        self._replies = replies
        self._step: list[Written] = []

    def emit(self, request_id: str, chunk: Chunk) -> None:
        written = self._replies.number(request_id, chunk)
        if written is not None:
            self._step.append(written)

    def flush(self) -> None:
        if self._step:
            step, self._step = self._step, []
            self._replies.hand_over(step)


class Replies:
    """Writes what sinks hand over, in order. `on_finished` is called after an engine step that ended calls."""

    def __init__(self, client: "redis.Redis", *, calls: Calls, worker_id: str) -> None:
        self._client = client
        self._calls = calls
        self._worker_id = worker_id
        self._journal = open_journal()
        self._steps: queue.SimpleQueue[list[Written] | None] = queue.SimpleQueue()
        self._thread = supervision.thread(self._write_all, name="replies")
        self._pause = threading.Event()
        self.on_finished: Callable[[], None] = lambda: None

    def start(self) -> None:
        scripting.load(self._client)
        self._thread.start()

    def stop(self, *, timeout: float) -> None:
        """Write what is queued, for at most `timeout` seconds, and end."""
        self._steps.put(None)
        self._thread.join(timeout)
        self._pause.set()

    def sink(self) -> VersionSink:
        return VersionSink(self)

    def number(self, request_id: str, chunk: Chunk) -> Written | None:
        """None for a call that is not ours, and for one whose answer is kept for its end."""
        call = self._calls.find(request_id)
        if call is None:
            return None
        self._journal.note(request_id, chunk)
        if call.whole:
            call.first_at = call.first_at or time.time()
            if chunk.finish_reason is None:
                call.kept.append(chunk)
                return None
            chunk = _joined([*call.kept, chunk])
        call.chunks += 1
        return Written(call, call.chunks - 1, chunk)

    def hand_over(self, step: list[Written]) -> None:
        self._steps.put(step)
        if any(written.chunk.finish_reason for written in step):
            self.on_finished()

    def fail(self, call: Call, error: str, *, refused: bool = False, why: str = "") -> None:
        """End a call that its engine never took, or lost, with words for the caller. It costs nothing."""
        self.hand_over([Written(call, call.chunks, Chunk(finish_reason="error", error=error), refused, why)])

    def _write_all(self) -> None:
        running = True
        while running:
            steps = self._take()
            running = None not in steps
            written = [item for step in steps if step for item in step]
            if not written:
                continue
            try:
                self._write_until_done(written)
            except BaseException:  # one answer that cannot be written must not silence all later ones
                log.exception("answers could not be written")
                self._give_up(written)

    def _take(self) -> list[list[Written] | None]:
        steps = [self._steps.get()]
        while not self._steps.empty():
            steps.append(self._steps.get())
        return steps

    def _write_until_done(self, written: list[Written]) -> None:
        wait = 0.02
        while True:
            try:
                self._write(written)
                break
            except redis.RedisError as error:
                if not is_passing(error):
                    raise
                log.warning("answers wait for Redis: %s", error)
            if self._pause.wait(wait):
                ends = sum(item.chunk.finish_reason is not None for item in written)
                log.error("Redis came back too late: %d calls have ended without a record", ends)
                return
            wait = min(wait * 2, MAX_RETRY_SECONDS)
        for item in written:
            if item.chunk.finish_reason:
                self._calls.end(item.call.id)

    def _give_up(self, written: list[Written]) -> None:
        """Fail the calls of these chunks one by one, as far as that goes."""
        for call in {item.call.id: item.call for item in written}.values():
            failed = Chunk(finish_reason="error", error="The answer could not be delivered.")
            try:
                self._write([Written(call, call.chunks, failed, why=Reason.UNDELIVERED)])
            except BaseException:
                log.exception("request %s could not be failed either", call.id)
            self._calls.end(call.id)

    def _write(self, written: list[Written]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for reply, entries in _by_reply(written).items():
            pipeline.eval(
                CHUNKS, 1, reply, protocol.pack(entries), protocol.REPLY_STREAM_LENGTH, REPLY_STREAM_SECONDS
            )
        last = [item for item in written if item.chunk.finish_reason]
        for item in last:
            self._finish(pipeline, item)
        results = pipeline.execute(raise_on_error=False) if len(pipeline) else []
        for result in results:
            _raise_passing(result)
        for item, result in zip(last, results[len(results) - len(last) :], strict=True):
            self._check(item, result)

    def _check(self, item: Written, result: object) -> None:
        """A restarted Redis has forgotten the finish script; `scripting` binds it to the new run."""
        if isinstance(result, NoScriptError):
            scripting.load(self._client)
            result = self._finish_now(item)
        _raise_passing(result)
        if not isinstance(result, redis.RedisError):
            return
        log.error("the end of request %s was refused: %s", item.call.id, result)
        if item.chunk.finish_reason != "error":
            # What Redis will never record must not be charged, nor its caller be left waiting.
            failed = Chunk(finish_reason="error", error="The usage could not be recorded.")
            failing = Written(item.call, item.index, failed, why=Reason.UNDELIVERED)
            self._check(failing, self._finish_now(failing))

    def _finish_now(self, item: Written) -> object:
        try:
            return self._finish(self._client, item)
        except redis.RedisError as error:
            return error

    def _finish(self, client: "redis.Redis", item: Written) -> object:
        chunk, call = item.chunk, item.call
        final = protocol.Final(
            finish_reason=chunk.finish_reason or "error", text=chunk.text,
            logprobs=[asdict(logprob) for logprob in chunk.logprobs] or None,
            output=chunk.output, error=chunk.error, refused=item.refused, worker=self._worker_id,
        )  # fmt: skip
        outcome = OUTCOMES.get(final.finish_reason, "succeeded")
        answer: object = settlement.finish(
            client, request_id=UUID(hex=call.id), outcome=outcome,
            quantities={} if outcome == "failed" else dict(chunk.usage or {}), reply=call.reply,
            final=protocol.pack(final),
            facts_extra={
                **call.timings(), "worker": self._worker_id,
                # A version is not to be blamed for what its callers send.
                "finish_reason": "refused" if item.refused else final.finish_reason,
                **({"reason": item.why} if item.why else {}),
            },
        )  # fmt: skip
        return answer


def _joined(chunks: list[Chunk]) -> Chunk:
    """The last chunk with the text and log-probabilities of all."""
    return replace(
        chunks[-1], text="".join(chunk.text for chunk in chunks),
        logprobs=tuple(logprob for chunk in chunks for logprob in chunk.logprobs),
    )  # fmt: skip


def _raise_passing(result: object) -> None:
    """Raise what will be over by itself, so that everything is written again then."""
    if isinstance(result, redis.RedisError) and is_passing(result):
        raise result


def _by_reply(written: list[Written]) -> dict[str, list[list[object]]]:
    entries: dict[str, list[list[object]]] = {}
    for item in written:
        chunk = item.chunk
        item.call.first_at = item.call.first_at or time.time()
        if chunk.finish_reason:
            continue
        data: dict[str, object] = {"i": item.index}
        if chunk.text:
            data["text"] = chunk.text
        if chunk.logprobs:
            data["logprobs"] = [asdict(logprob) for logprob in chunk.logprobs]
        entries.setdefault(item.call.reply, []).append([item.call.id, protocol.CHUNK, data])
    return entries
