"""The gateway against LiteLLM's proxy and Portkey's gateway: requests a second on one core, latency alone.

Each server has one core for itself and its children; the load, and what the server stands in front of,
share another. Peers relay to a fake upstream that answers 16 tokens at once, without keys, budgets or
metering of their own. Ours runs the whole path with everything on: key, prompt rendered and tokenised,
epochs, rate limits, hold, Celery message, a worker that answers the same 16 tokens, settlement and the
durable usage event. Latency is a lone client's; for peers it includes the upstream's fraction of a
millisecond, for ours the worker's.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks import gateway_peers, load, site
from benchmarks.load import Load
from benchmarks.processes import Target, free_port, processor_seconds, running

COMMAND = "python -m benchmarks.gateway"
CONCURRENCY = 64
SHAPES = ("whole", "streamed")
PROMPT = "Say hello to the world, please."


@dataclass(frozen=True)
class Measured:
    """One shape of answer: under load, alone, and the server's processor time for a call under load."""

    loaded: Load
    alone: Load
    processor_ms: float


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of ours against each peer. A ratio above 1 is in our favour. Needs two cores."""
    before = os.sched_getaffinity(0)
    server, other = sorted(before)[:2]
    seconds = 3.0 if quick else 10.0
    peers = {}
    os.sched_setaffinity(0, {other})
    try:
        with ours(server=server, other=other) as (target, model):
            mine = measure(target, model=model, seconds=seconds)
        with upstream(core=other) as url:
            for name, peer in (
                ("LiteLLM proxy", gateway_peers.litellm),
                ("Portkey gateway", gateway_peers.portkey),
            ):
                with peer(url, core=server) as target:
                    # Portkey 1.15.2 answers every streamed call to this upstream with an error of its own.
                    shapes = SHAPES[:1] if name.startswith("Portkey") else SHAPES
                    peers[name] = measure(target, model="fake", seconds=seconds, shapes=shapes)
    finally:
        os.sched_setaffinity(0, before)
    return [row for name, theirs in peers.items() for row in compare(mine, name, theirs)]


def compare(mine: Mapping[str, Measured], name: str, theirs: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Three rows for each shape. Processor time is the figure that a busy machine distorts least."""
    rows = []
    for shape, peer in theirs.items():
        own = mine[shape]
        rows += [
            _row(f"gateway, {shape}, one core", "req/s", own.loaded.per_second, name, peer.loaded.per_second),
            _row(f"gateway, {shape}, alone, p50", "ms", own.alone.p50_ms, name, peer.alone.p50_ms),
            _row(f"gateway, {shape}, processor time", "ms/call", own.processor_ms, name, peer.processor_ms),
        ]
    return rows


def _row(name: str, unit: str, value: float, peer: str, peer_value: float) -> dict[str, Any]:
    ratio = value / peer_value if unit == "req/s" else peer_value / value
    return {
        "name": name, "value": round(value, 3), "unit": unit, "peer": peer, "peer_value": round(peer_value, 3),
        "ratio": round(ratio, 3), "command": COMMAND,
    }  # fmt: skip


def measure(
    target: Target, *, model: str, seconds: float, shapes: Sequence[str] = SHAPES
) -> dict[str, Measured]:
    """Whole and streamed answers. Raises `RuntimeError` if a call fails."""
    found = {}
    for shape in shapes:
        asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 16}
        body = json.dumps(asked | ({"stream": True} if shape == "streamed" else {})).encode()
        # A server may turn calls away while it is still opening its connections.
        load.run(
            target.url,
            body,
            headers=dict(target.headers),
            concurrency=CONCURRENCY,
            seconds=max(2.0, seconds / 3),
        )
        used = processor_seconds(target.pid)
        loaded = _load(target, body, concurrency=CONCURRENCY, seconds=seconds)
        used = processor_seconds(target.pid) - used
        alone = _load(target, body, concurrency=1, seconds=seconds)
        found[shape] = Measured(loaded, alone, used / loaded.calls * 1000)
    return found


def _load(target: Target, body: bytes, *, concurrency: int, seconds: float) -> Load:
    done = load.run(target.url, body, headers=dict(target.headers), concurrency=concurrency, seconds=seconds)
    if done.failures:
        raise RuntimeError(f"{done.failures} of {done.calls} calls of {target.url} failed:\n{done.failure}")
    return done


@contextmanager
def upstream(*, core: int) -> Iterator[str]:
    """The fake upstream's base URL."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "benchmarks.fake_upstream:app",
        f"--port={port}",
        "--no-access-log",
    ]
    with running(command, core=core, ready=f"http://127.0.0.1:{port}/"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def ours(*, server: int, other: int) -> Iterator[tuple[Target, str]]:
    """Our web process on one core; Redis, Postgres and a worker without a model on the other."""
    with (
        site.shop() as shop,
        running(
            [sys.executable, "-m", "benchmarks.stand_in", shop.version],
            core=other,
            environment=shop.environment,
        ),
        site.web(shop, core=server) as target,
    ):
        yield replace(target, url=f"{target.url}/v1/chat/completions"), shop.model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))
