"""The text engine: one thread that steps a `Generator`, and the doors to it for other threads."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from inference.engines.base import (
    Capacity,
    Chunk,
    EngineClosing,
    EngineStats,
    GenerateRequest,
    Health,
    Manifest,
    Note,
    Request,
    RequestRefused,
    Sink,
    UnloadableVersion,
)
from inference.engines.pulse import FAILED_STEPS_ALLOWED, Pulse
from inference.engines.text import loading, memory
from inference.engines.text.generating import Generator
from inference.engines.text.kv_cache import KVCache
from inference.engines.text.runner import Runner
from inference.engines.text.scheduler import Scheduler

logger = logging.getLogger(__name__)
GRACE_SECONDS = 5.0


class TextEngine:
    """Continuous batching for one causal model on one device. See `inference.engines.base.Engine`."""

    manifest: Manifest
    notes: tuple[Note, ...] = ()

    def __init__(self, generator: Generator, *, manifest: Manifest, slots: int, cache: KVCache) -> None:
        self.manifest = manifest
        self._generator = generator
        self._slots = slots
        self._cache = cache
        self._inbox: deque[GenerateRequest | str] = deque()
        self._news = threading.Condition()
        self._busy = 0
        self._is_closing = False
        self._stop_at: float | None = None
        self._pulse = Pulse()
        self._failed_steps = 0
        self._thread = threading.Thread(target=self._work, name="text-engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        manifest: Manifest,
        device: str,
        sink: Sink,
        slots: int | None = None,
        step_tokens: int | None = None,
    ) -> "TextEngine":
        """Read safetensors from `directory`. Raises `UnloadableVersion` with a sentence for the provider.

        `slots` is how many requests run at once, `step_tokens` how many tokens one step may compute.
        """
        loaded = loading.load(directory, manifest=manifest, device=device)
        context_length = _check_context(loaded, manifest)
        usual_slots, usual_tokens = _usual_step(loaded, manifest, device=device)
        slots, step_tokens = slots or usual_slots, step_tokens or usual_tokens
        budget = _budget_tokens(loaded, manifest, slots=slots, step_tokens=step_tokens)
        if budget < context_length:
            raise UnloadableVersion(
                f"{manifest.memory_bytes} bytes leave room for {budget} tokens beside the weights; "
                f"one request may need {context_length}."
            )
        cache = _make_cache(loaded, budget, context_length=context_length, slots=slots, device=device)
        generator = Generator(
            scheduler=Scheduler(cache, slots=slots, step_tokens=step_tokens),
            runner=Runner(loaded.model, cache, device=device),
            token_bytes=loaded.token_bytes,
            eos_ids=loaded.eos_ids,
            context_length=context_length,
            vocab_size=loaded.shape.vocab,
            device=device,
            sink=sink,
        )
        engine = cls(generator, manifest=manifest, slots=slots, cache=cache)
        engine.notes = loaded.notes
        return engine

    def submit(self, request: Request) -> None:
        """Queue a request. Raises `RequestRefused` if it can never run (too long, bad token id)."""
        if not isinstance(request, GenerateRequest):
            raise RequestRefused("This version generates text; it takes prompts, not items.")
        _check_request(
            request, context_length=self._generator.context_length, vocab_size=self._generator.vocab_size
        )
        with self._news:
            if self._is_closing:
                raise EngineClosing("This engine is stopping.")
            if request.id in self._generator.flights or request.id in map(_id, self._inbox):
                raise RequestRefused(f"A request with id {request.id} is already running.")
            self._inbox.append(request)
            self._news.notify()

    def cancel(self, request_id: str) -> None:
        """Stop within a step; the sink still gets a last chunk, "cancelled", with what was used."""
        with self._news:
            self._inbox.append(request_id)
            self._news.notify()

    def capacity(self) -> Capacity:
        with self._news:
            arriving = sum(isinstance(item, GenerateRequest) for item in self._inbox)
            slots = 0 if self._pulse.has_failed else self._slots
            return Capacity(slots=slots, busy=arriving + len(self._generator.flights))

    def stats(self) -> EngineStats:
        return self._generator.counters.snapshot()

    def health(self) -> Health:
        return self._pulse.health()

    def close(self, *, drain: bool, timeout: float) -> None:
        """Stop the thread and free memory; with `drain`, first finish what is in flight (seconds).

        What is then still unfinished ends with "error", which costs its caller nothing.
        """
        with self._news:
            self._is_closing = True
            self._stop_at = time.monotonic() + (timeout if drain else 0)
            self._news.notify()
        self._thread.join(timeout + GRACE_SECONDS)
        if self._thread.is_alive():
            logger.error("the text engine did not stop within %s s", timeout + GRACE_SECONDS)

    def _work(self) -> None:
        try:
            with torch.inference_mode():
                self._serve()
        except BaseException as error:  # a panic of native code is no Exception
            self._fail(error)

    def _serve(self) -> None:
        while True:
            items = self._wait()
            self._survive(partial(self._take_in, items))
            if self._is_over():
                break
            if self._survive(self._generator.step):
                self._failed_steps = 0
            self._flush()
        # Nothing is accepted any more; what slipped in is told, too.
        self._survive(partial(self._take_in, list(self._inbox)))
        self._generator.end_all("The engine was stopped.")
        self._flush()
        self._survive(self._cache.clear)
        self._survive(self._generator.runner.free)
        self._pulse.rest()

    def _fail(self, error: BaseException) -> None:
        """Tell all that this engine holds, in words that ask nothing of what has just failed, and free its memory."""
        logger.critical("the text engine has failed for good", exc_info=error)
        with self._news:
            self._is_closing = True
            arrived = [item.id for item in self._inbox if isinstance(item, GenerateRequest)]
            self._inbox.clear()
        held = dict.fromkeys([*self._generator.flights, *arrived])
        self._generator.flights.clear()
        last = Chunk(finish_reason="error", error="The engine failed.", usage={})
        acts: list[Callable[[], object]] = [
            *(partial(self._generator.sink.emit, request_id, last) for request_id in held),
            self._generator.sink.flush, self._cache.clear, self._generator.runner.free,
        ]  # fmt: skip
        for act in acts:
            try:
                act()
            except BaseException:
                logger.exception("something of the failed text engine was not ended")
        self._pulse.fail(error)

    def _wait(self) -> list[GenerateRequest | str]:
        """Sleep until there is something to do; what has come since, requests and ids to cancel, in order."""
        with self._news:
            while not (self._inbox or self._generator.scheduler.has_work or self._is_closing):
                self._pulse.rest()
                self._news.wait()
            self._pulse.begin()
            return list(self._inbox)

    def _take_in(self, items: list[GenerateRequest | str]) -> None:
        for item in items:
            if isinstance(item, GenerateRequest):
                with self._news:  # never uncounted, nor counted twice, between inbox and flights
                    self._generator.add(item)
                    self._inbox.popleft()
            else:
                self._inbox.popleft()
                self._generator.cancel(item)

    def _is_over(self) -> bool:
        if self._stop_at is None:
            return False
        is_idle = not (self._inbox or self._generator.scheduler.has_work)
        return is_idle or time.monotonic() >= self._stop_at

    def _survive(self, act: Callable[[], None]) -> bool:
        """Whether it went well. If not, those held are told and later requests run, unless that has happened too
        often in a row.
        """
        try:
            act()
        except Exception:
            self._failed_steps += 1
            if self._failed_steps >= FAILED_STEPS_ALLOWED:
                raise
            logger.exception("the text engine failed")
            self._generator.end_all("The engine failed.")
            return False
        return True

    def _flush(self) -> None:
        try:
            self._generator.sink.flush()
        except Exception:  # the next flush may succeed; requests must not die with this one
            logger.exception("the sink did not flush")


def _id(item: GenerateRequest | str) -> str | None:
    return item.id if isinstance(item, GenerateRequest) else None


def _check_request(request: GenerateRequest, *, context_length: int, vocab_size: int) -> None:
    length = len(request.prompt_ids)
    if not length:
        raise RequestRefused("The prompt is empty.")
    if length >= context_length:
        raise RequestRefused(f"The prompt has {length} tokens; the context holds {context_length}.")
    if min(request.prompt_ids) < 0 or max(request.prompt_ids) >= vocab_size:
        raise RequestRefused(f"The prompt has a token id outside 0 to {vocab_size - 1}.")
    if any(not 0 <= token < vocab_size for token in request.sampling.logit_bias):
        raise RequestRefused(f"logit_bias has a token id outside 0 to {vocab_size - 1}.")
    if request.sampling.max_tokens < 1:
        raise RequestRefused("max_tokens must be at least 1.")


def _check_context(loaded: loading.Loaded, manifest: Manifest) -> int:
    if manifest.context_length > loaded.shape.positions:
        raise UnloadableVersion(
            f"The manifest's context of {manifest.context_length} exceeds the model's {loaded.shape.positions}."
        )
    return manifest.context_length


def _usual_step(loaded: loading.Loaded, manifest: Manifest, *, device: str) -> tuple[int, int]:
    """Slots and tokens of a step. On a GPU large ones, unless the memory promised was reckoned for less."""
    if device.startswith("cuda"):
        large = {"slots": memory.GPU_LOGIT_ROWS, "step_tokens": memory.GPU_STEP_TOKENS}
        if _budget_tokens(loaded, manifest, **large) >= manifest.context_length:
            return large["slots"], large["step_tokens"]
    return 64, 256


def _budget_tokens(loaded: loading.Loaded, manifest: Manifest, *, slots: int, step_tokens: int) -> int:
    """How many tokens' keys and values fit into what the manifest's memory leaves beside weights and a step."""
    working = memory.working_bytes(
        loaded.shape,
        step_tokens=max(step_tokens, memory.STEP_TOKENS),
        logit_rows=max(slots, memory.LOGIT_ROWS),
    )
    per_token = memory.kv_bytes_per_token(loaded.shape, item_bytes=loaded.model.dtype.itemsize)
    budget = (manifest.memory_bytes - loaded.weight_bytes - working) // per_token
    return max(budget, 0)


def _make_cache(
    loaded: loading.Loaded, budget: int, *, context_length: int, slots: int, device: str
) -> KVCache:
    return KVCache(
        layers=loaded.shape.layers,
        kv_heads=loaded.shape.kv_heads,
        head_dim=loaded.shape.head_dim,
        context_length=context_length,
        budget_tokens=budget,
        slots=slots,
        device=device,
        dtype=loaded.model.dtype,
    )
