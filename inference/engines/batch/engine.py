"""The batch engine: requests of many items, run together with the items of other requests."""

import logging
import threading
import time
import traceback
from pathlib import Path
from typing import Self

import torch

from inference.engines.base import (
    BatchRequest,
    Capacity,
    Chunk,
    EngineClosing,
    EngineStats,
    Health,
    Manifest,
    Note,
    Request,
    RequestRefused,
    Sink,
)
from inference.engines.batch.batching import Limits, Waiting, choose
from inference.engines.batch.jobs import Entry, Job
from inference.engines.batch.loading import load_runner
from inference.engines.batch.runner import Item, Runner
from inference.engines.batch.turns import Turns
from inference.engines.device import hand_back_memory, is_cuda
from inference.engines.pulse import FAILED_STEPS_ALLOWED, Pulse

log = logging.getLogger(__name__)

SLOTS = 256
GRACE_SECONDS = 5.0
# A GPU wants far more work per pass than a CPU core before passes stop being the cost.
CPU_LIMITS = Limits()
GPU_LIMITS = Limits(padded=32_768, items=512, pass_cost=4096)


class BatchEngine:
    """One loaded version for embeddings or classification. Safe to call from any thread."""

    def __init__(
        self,
        runner: Runner,
        *,
        manifest: Manifest,
        device: str,
        sink: Sink,
        limits: Limits,
        notes: tuple[Note, ...] = (),
    ) -> None:
        self.manifest = manifest
        self.notes = notes
        self._device = device
        self._runner = runner
        self._sink = sink
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Waiting[Entry]] = []
        self._cancelled: list[str] = []
        self._turns = Turns()
        self._wake = threading.Condition()
        self._state = "open"
        self._pulse = Pulse()
        self._failed_steps = 0
        self._counts = {"requests": 0, "steps": 0, "input_tokens": 0, "failures": 0}
        self._thread = threading.Thread(target=self._work, name="batch-engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(cls, directory: Path, *, manifest: Manifest, device: str, sink: Sink) -> Self:
        """Read a version and start its thread. Raises `UnloadableVersion`."""
        runner, notes = load_runner(directory, manifest=manifest, device=device)
        limits = GPU_LIMITS if is_cuda(device) else CPU_LIMITS
        return cls(runner, manifest=manifest, device=device, sink=sink, limits=limits, notes=notes)

    def submit(self, request: Request) -> None:
        """Check and queue `request`. Raises `RequestRefused`.

        Images are decoded here, on the caller's thread, so that a slow one delays nobody else.
        """
        if not isinstance(request, BatchRequest):
            raise RequestRefused("This model does not generate text.")
        items = self._runner.prepare(request)
        job = Job(request, count=len(items))
        now = time.monotonic()
        with self._wake:
            if self._state != "open":
                raise EngineClosing("This model is being unloaded.")
            if request.id in self._jobs:
                raise RequestRefused(f"Request {request.id} is already running.")
            self._jobs[request.id] = job
            self._waiting += [_wait(job, index, item, since=now) for index, item in enumerate(items)]
            self._wake.notify()

    def cancel(self, request_id: str) -> None:
        """Drop what has not run of a request. One that is unknown may just have ended, so it is ignored."""
        with self._wake:
            if request_id in self._jobs:
                self._cancelled.append(request_id)
                self._wake.notify()

    def capacity(self) -> Capacity:
        with self._wake:
            return Capacity(slots=0 if self._pulse.has_failed else SLOTS, busy=len(self._jobs))

    def stats(self) -> EngineStats:
        with self._wake:
            return EngineStats(output_tokens=0, cached_tokens=0, **self._counts)

    def health(self) -> Health:
        return self._pulse.health()

    def close(self, *, drain: bool, timeout: float) -> None:
        """Refuse new work and stop; what is not done within `timeout` seconds ends with an error."""
        with self._wake:
            self._state = "draining" if drain else "closed"
            self._wake.notify()
        self._thread.join(timeout if drain else GRACE_SECONDS)
        with self._wake:
            self._state = "closed"
            self._wake.notify()
        self._thread.join(GRACE_SECONDS)
        if self._thread.is_alive():
            log.error("the batch engine did not stop within %s s", GRACE_SECONDS)
            return
        self._runner.release()
        hand_back_memory(self._device)

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException as error:  # a panic of native code is no Exception
            self._fail(error)

    def _serve(self) -> None:
        while self._await_work():
            try:
                self._step()
                self._failed_steps = 0
            except Exception:
                self._failed_steps += 1
                if self._failed_steps >= FAILED_STEPS_ALLOWED:
                    raise
                log.exception("step failed; its requests end with an error")
                self._abandon("The engine failed on this request.")
        self._abandon("The worker stopped before this request was done.")
        self._pulse.rest()

    def _fail(self, error: BaseException) -> None:
        """Tell all that this engine holds; nothing runs here any more."""
        log.critical("the batch engine has failed for good", exc_info=error)
        with self._wake:
            self._state = "closed"
        try:
            self._abandon("The engine failed.")
        finally:
            self._pulse.fail(error)

    def _step(self) -> None:
        self._end_cancelled()
        batch = self._take_batch()
        if batch:
            self._run(batch)
        self._flush()

    def _await_work(self) -> bool:
        """Sleep until there is something to do; False once there never will be."""
        with self._wake:
            self._pulse.rest()
            self._wake.wait_for(lambda: self._waiting or self._cancelled or self._state != "open")
            self._pulse.begin()
            return self._state == "open" or (self._state == "draining" and bool(self._waiting))

    def _end_cancelled(self) -> None:
        with self._wake:
            ended = [self._jobs[each] for each in self._cancelled if each in self._jobs]
            self._cancelled.clear()
        for job in ended:
            self._finish(job, job.cancelled(self._runner.meter))

    def _take_batch(self) -> list[Waiting[Entry]]:
        with self._wake:
            turn = self._turns.next(self._waiting) if self._turns.are_needed(self._jobs.values()) else None
            batch = choose(self._waiting, now=time.monotonic(), limits=self._limits, turn=turn)
            self._turns.note(batch)
            taken = set(map(id, batch))
            self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
        return batch

    def _run(self, batch: list[Waiting[Entry]]) -> None:
        """One forward pass. If it fails, its halves run apart, so that in the end only the culprit fails."""
        started = time.perf_counter()
        try:
            with torch.inference_mode():
                rows = self._runner.forward([waiting.item.item for waiting in batch])
        except Exception as error:
            failure = error
        else:
            self._share(batch, rows, seconds=time.perf_counter() - started)
            return
        # The frames of what failed hold all it had computed, perhaps just what memory lacks now.
        traceback.clear_frames(failure.__traceback__)
        if len(batch) > 1:
            middle = len(batch) // 2
            self._run(batch[:middle])
            self._run(batch[middle:])
            return
        log.warning("forward pass failed: %s: %s", type(failure).__name__, failure)
        self._finish(batch[0].item.job, batch[0].item.job.failed("The model failed on this input."))

    def _share(self, batch: list[Waiting[Entry]], rows: torch.Tensor, *, seconds: float) -> None:
        total = sum(waiting.length for waiting in batch)
        with self._wake:
            self._counts["steps"] += 1
            self._counts["input_tokens"] += (
                sum(waiting.item.item.units for waiting in batch)
                if self._runner.meter == "input_tokens"
                else 0
            )
        finite = rows.isfinite().all(dim=1).tolist()
        for waiting, row, is_finite in zip(batch, rows, finite, strict=True):
            job = waiting.item.job
            if not is_finite:
                self._finish(job, job.failed("The model produced numbers that are not finite."))
                continue
            job.keep(waiting.item, row, seconds=seconds * waiting.length / total)
            if job.is_complete:
                self._finish(job, self._answer(job))

    def _answer(self, job: Job) -> Chunk:
        try:
            return job.answered(self._runner)
        except Exception as error:
            log.warning("answer failed: %s: %s", type(error).__name__, error)
            return job.failed("The model's output could not be read.")

    def _finish(self, job: Job, chunk: Chunk) -> None:
        """Emit the last chunk of `job`, once, and forget what else it waits for."""
        with self._wake:
            if self._jobs.get(job.request.id) is not job:
                return
            del self._jobs[job.request.id]
            if not job.is_complete:
                self._waiting = [entry for entry in self._waiting if entry.item.job is not job]
            self._counts["requests"] += 1
            self._counts["failures"] += chunk.finish_reason == "error"
        try:
            self._sink.emit(job.request.id, chunk)
        except BaseException:  # nobody is left to tell; the others still are
            log.exception("sink refused the last chunk of %s", job.request.id)

    def _flush(self) -> None:
        try:
            self._sink.flush()
        except BaseException:
            log.exception("sink failed to flush")

    def _abandon(self, reason: str) -> None:
        """End all that is undone with an error; the platform broke it off, so it costs nothing."""
        with self._wake:
            left = list(self._jobs.values())
        for job in left:
            self._finish(job, job.failed(reason))
        self._flush()


def _wait(job: Job, index: int, item: Item, *, since: float) -> Waiting[Entry]:
    return Waiting(
        item=Entry(job=job, index=index, item=item), group=item.group, length=item.length, since=since
    )
