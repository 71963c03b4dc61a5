"""The text engine in this process, without HTTP, and transformers' padded batch beside it."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import torch
from transformers import LlamaForCausalLM

from benchmarks.language_models import Prompts, manifest
from inference.engines.base import Chunk, GenerateRequest, Manifest, Sampling
from inference.engines.text.engine import TextEngine

PATIENCE_SECONDS = 600


class Listener:
    """A sink that notes when every chunk came and says when the last of so many requests has ended."""

    def __init__(self) -> None:
        self.arrivals: dict[str, list[float]] = defaultdict(list)
        self.usage: dict[str, Mapping[str, int]] = {}
        self.left = 0
        self.done = Event()
        self.on_end: Callable[[str], None] = lambda request_id: None

    def expect(self, count: int) -> None:
        self.arrivals.clear()
        self.usage.clear()
        self.left = count
        self.done.clear()

    def emit(self, request_id: str, chunk: Chunk) -> None:
        self.arrivals[request_id].append(time.perf_counter())
        if chunk.finish_reason is None:
            return
        if chunk.finish_reason != "length":
            raise RuntimeError(f"{request_id}: {chunk.finish_reason} {chunk.error}")
        self.usage[request_id] = chunk.usage or {}
        self.left -= 1
        self.on_end(request_id)
        if not self.left:
            self.done.set()

    def flush(self) -> None:
        pass

    def wait(self) -> None:
        if not self.done.wait(PATIENCE_SECONDS):
            raise TimeoutError(f"the engine left {self.left} requests unfinished")


@contextmanager
def one_core() -> Iterator[int]:
    """Run on one core with one thread; the number of the core."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    core = max(cores)
    os.sched_setaffinity(0, {core})
    torch.set_num_threads(1)
    try:
        yield core
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


@contextmanager
def engine(
    directory: Path, *, facts: Manifest | None = None, device: str = "cpu", **options: Any
) -> Iterator[tuple[TextEngine, Listener]]:
    """The engine over a folder of weights, with its sink."""
    listener = Listener()
    running = TextEngine.load(
        directory, manifest=facts or manifest(), device=device, sink=listener, **options
    )
    try:
        yield running, listener
    finally:
        running.close(drain=False, timeout=10)


def ask(running: TextEngine, name: str, prompt: list[int], *, answer: int) -> None:
    """Submit a greedy request. Prompts of one `name` must not run at the same time."""
    sampling = Sampling(max_tokens=answer, temperature=0.0)
    running.submit(GenerateRequest(id=name, prompt_ids=prompt, sampling=sampling))


def burst_seconds(running: TextEngine, listener: Listener, prompts: Prompts, *, answer: int) -> float:
    """How long the engine takes for all prompts at once."""
    listener.expect(len(prompts))
    started = time.perf_counter()
    for number, prompt in enumerate(prompts):
        ask(running, str(number), prompt, answer=answer)
    listener.wait()
    return time.perf_counter() - started


def padded_seconds(model: LlamaForCausalLM, prompts: Prompts, *, answer: int) -> float:
    """How long one `generate()` takes for the batch of all prompts, which are of one length."""
    started = time.perf_counter()
    ids = torch.tensor(prompts, device=model.device)
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=answer, do_sample=False, pad_token_id=0
    )
    if output.shape != (len(prompts), len(prompts[0]) + answer):
        raise RuntimeError(f"generate() answered {tuple(output.shape)}")
    return time.perf_counter() - started
