"""Cold start: from the worker's cache of weights to a first token, against reading the same bytes.

A Llama of random bfloat16 weights (250 million parameters, 0.5 GB) is published, and brought into an engine by the
code that a worker runs: the version's row, its directory in the content-addressed cache, the engine. The clock stops
at the first token of an answer, so that no weight is left unread. The peer reads the same files once, in blocks, into
memory that it uses again. `cold` is with the files dropped from the page cache before either (where the system does
drop them), `warm` with the files in it. Median of several rounds; the process has imported what it needs.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import language_models, site
from benchmarks.processes import ROOT
from benchmarks.results import at_most, row

COMMAND = "make bench ONLY=cold"
SHAPE: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 8,
    "vocab_size": 32_000, "tie_word_embeddings": True,
}  # fmt: skip
LAYERS, BLOCK_BYTES = 14, 8 * 2**20
STATES = ("cold", "warm")
GOAL = 2.0


def run(quick: bool) -> list[dict[str, Any]]:
    """The ratio and the seconds, cold and warm."""
    with tempfile.TemporaryDirectory() as folder:
        layers = LAYERS // 7 if quick else LAYERS
        directory = language_models.write_llama(
            Path(folder) / "large", dtype=torch.bfloat16, num_hidden_layers=layers, **SHAPE
        )
        with site.shop(directory) as shop:
            measured = _measure_apart(shop, rounds=3 if quick else 5)
    return [line for state in STATES for line in _rows(state, **measured[state])]


def _rows(state: str, *, load: float, read: float) -> list[dict[str, Any]]:
    return [
        row("load.ratio", load / read, f"of reading, {state}", command=COMMAND, goal=at_most(GOAL)),
        row("load.seconds", load, f"s, {state}", command=COMMAND, peer="reading the bytes", peer_value=read,
            better="lower"),
    ]  # fmt: skip


def _measure_apart(shop: site.Shop, *, rounds: int) -> dict[str, dict[str, float]]:
    """In a process with the shop's settings, as a worker is."""
    command = [sys.executable, "-m", "benchmarks.cold", shop.version, str(rounds)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | dict(shop.environment), capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the version could not be loaded:\n{done.stderr[-3000:]}")
    measured: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(version_hex: str, *, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds {state: {"load", "read"}}. Needs Django, and torch imported."""
    from inference.worker import loading
    from marketplace import weights
    from marketplace.models import Version

    loading.warm_up()
    files = sorted(weights.directory(Version.objects.get(pk=version_hex)).glob("*.safetensors"))
    ways: dict[str, Callable[[], None]] = {
        "load": lambda: load_and_answer(version_hex),
        "read": lambda: _read(files),
    }
    load_and_answer(version_hex)
    return {state: _median(ways, files, drop=state == "cold", rounds=rounds) for state in STATES}


def _median(
    ways: dict[str, Callable[[], None]], files: list[Path], *, drop: bool, rounds: int
) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            _drop(files) if drop else _read(files)
            started = time.perf_counter()
            way()
            took[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def load_and_answer(version_hex: str) -> None:
    """Load a version as a worker does, and wait for one token of it."""
    from benchmarks import alone
    from inference.worker import loading

    manifest = loading.read_manifest(version_hex)
    listener = alone.Listener()
    engine, _ = loading.load(version_hex, manifest=manifest, device="cpu", sink=listener)
    try:
        listener.expect(1)
        alone.ask(engine, "first", [300, 301, 302], answer=1)
        listener.wait()
    finally:
        engine.close(drain=False, timeout=10)


def _drop(files: list[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # only what is on the disk can be dropped
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(files: list[Path]) -> None:
    block = bytearray(BLOCK_BYTES)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


if __name__ == "__main__":
    import django

    django.setup()
    print(json.dumps(measure(sys.argv[1], rounds=int(sys.argv[2]))))
