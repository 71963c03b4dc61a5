"""The gateway against LiteLLM's proxy and Portkey's gateway: requests a second on one core, latency alone.

Each server has one core for itself and its children; the load and the fake upstream, which answers 16 tokens at
once, share another. All relay to that upstream: ours as a remote listing with everything on (key, epochs, rate
limits, hold, settlement, durable usage event), peers without keys, budgets or metering of their own. Our Redis
and Postgres run beside the load. Added latency is a lone client's median less that of the upstream asked directly
in the same run, of each the best of several rounds, so that a busy neighbour on the machine favours none.
`gateway.worker_path_*` is another way of ours, through a queue to a worker without a model.

Portkey 1.15.2 answers every streamed call with an error of its own: it appends headers to those of Node's fetch,
which are immutable there (Node 20 and 24 alike). So streams have LiteLLM alone for a peer.
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
from benchmarks.results import at_most, row, times
from benchmarks.site import Shop

COMMAND = "make bench ONLY=gateway"
CONCURRENCY = 64
SHAPES = ("whole", "streamed")
PROMPT = "Say hello to the world, please."
TOKENS = 16
ROUNDS = 5
PEERS = {
    "LiteLLM proxy": (gateway_peers.litellm, SHAPES, times(10)),
    "Portkey gateway": (gateway_peers.portkey, SHAPES[:1], times(1)),
}


@dataclass(frozen=True)
class Measured:
    """One shape of answer: under load, alone, and the server's processor time for a call under load."""

    loaded: Load
    alone: Load
    processor_ms: float


Shapes = Mapping[str, Measured]


def run(quick: bool) -> list[dict[str, Any]]:
    """Rows of ours against each peer. A ratio above 1 is in our favour. Needs two cores."""
    before = os.sched_getaffinity(0)
    server, other = sorted(before)[:2]
    seconds = 3.0 if quick else 10.0
    os.sched_setaffinity(0, {other})
    try:
        with upstream(core=other) as url:
            direct = measure(
                Target(f"{url}/v1/chat/completions", {}, os.getpid()), model="fake", seconds=seconds
            )
            with site.shop(upstream=url) as shop:
                mine = _measure_remote(shop, core=server, seconds=seconds)
                both = _measure_remote(shop, core=f"{server},{other}", seconds=seconds, processes=2)
                worker = _measure_worker_path(shop, server=server, other=other, seconds=seconds)
            peers = {
                name: _measure_peer(peer, url, core=server, seconds=seconds, shapes=shapes)
                for name, (peer, shapes, _) in PEERS.items()
            }
    finally:
        os.sched_setaffinity(0, before)
    return [*_compare(mine, peers, direct=direct), *_scale(mine, both), *_describe_worker_path(worker)]


def _compare(mine: Shapes, peers: Mapping[str, Shapes], *, direct: Shapes) -> list[dict[str, Any]]:
    rows = []
    for name, theirs in peers.items():
        rows += [
            _row(
                "gateway.requests_per_s", mine["whole"].loaded.per_second, "req/s", peer=name,
                peer_value=theirs["whole"].loaded.per_second, goal=PEERS[name][2],
            ),
            _row(
                "gateway.processor_ms", mine["whole"].processor_ms, "ms/call", peer=name,
                peer_value=theirs["whole"].processor_ms, better="lower",
            ),
        ]  # fmt: skip
        for shape in theirs:
            rows.append(_added(shape, mine, peer=name, theirs=theirs, direct=direct))
        if "streamed" in theirs:
            rows += _streamed(mine["streamed"], name, theirs["streamed"])
    return rows


def _added(shape: str, mine: Shapes, *, peer: str, theirs: Shapes, direct: Shapes) -> dict[str, Any]:
    suffix = "" if shape == "whole" else "_streamed"
    base = direct[shape].alone.p50_ms
    return _row(
        f"gateway.added_latency_ms{suffix}", mine[shape].alone.p50_ms - base, "ms", peer=peer,
        peer_value=theirs[shape].alone.p50_ms - base, better="lower", goal=at_most(1),
    )  # fmt: skip


def _streamed(mine: Measured, name: str, theirs: Measured) -> list[dict[str, Any]]:
    return [
        _row(
            "gateway.stream_tokens_per_s", mine.loaded.per_second * TOKENS, "tokens/s", peer=name,
            peer_value=theirs.loaded.per_second * TOKENS, goal=times(10),
        ),
        _row(
            "gateway.ttft_ms", mine.alone.first_p50_ms, "ms", peer=name, peer_value=theirs.alone.first_p50_ms,
            better="lower",
        ),
    ]  # fmt: skip


def _scale(one: Shapes, two: Shapes) -> list[dict[str, Any]]:
    """Two web processes over both cores, the load and the upstream among them, beside one on its own core."""
    return [
        _row(
            "gateway.scale", two["whole"].loaded.per_second, "req/s with 2 processes", peer="1 process",
            peer_value=one["whole"].loaded.per_second,
        )
    ]  # fmt: skip


def _describe_worker_path(measured: Shapes) -> list[dict[str, Any]]:
    rows = []
    for shape, found in measured.items():
        rows += [
            _row(f"gateway.worker_path_{shape}_per_s", found.loaded.per_second, "req/s"),
            _row(f"gateway.worker_path_{shape}_p50_ms", found.alone.p50_ms, "ms", better="lower"),
        ]
    return rows


def _row(name: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
    return row(name, value, unit, command=COMMAND, **more)


def _measure_remote(shop: Shop, *, core: int | str, seconds: float, processes: int = 1) -> Shapes:
    with site.web(shop, core=core, processes=processes, with_worker=False) as target:
        return measure(_chat(target), model=shop.remote, seconds=seconds)


def _measure_worker_path(shop: Shop, *, server: int, other: int, seconds: float) -> Shapes:
    command = [sys.executable, "-m", "benchmarks.stand_in", shop.version]
    with running(command, core=other, environment=shop.environment), site.web(shop, core=server) as target:
        return measure(_chat(target), model=shop.model, seconds=seconds)


def _measure_peer(peer: Any, url: str, *, core: int, seconds: float, shapes: Sequence[str]) -> Shapes:
    with peer(url, core=core) as target:
        return measure(target, model="fake", seconds=seconds, shapes=shapes)


def _chat(target: Target) -> Target:
    return replace(target, url=f"{target.url}/v1/chat/completions")


def measure(
    target: Target, *, model: str, seconds: float, shapes: Sequence[str] = SHAPES
) -> dict[str, Measured]:
    """Whole and streamed answers. Raises `RuntimeError` if a call fails."""
    found = {}
    for shape in shapes:
        asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": TOKENS}
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
        rounds = [_load(target, body, concurrency=1, seconds=seconds / ROUNDS) for _ in range(ROUNDS)]
        alone = min(rounds, key=lambda each: each.p50_ms)
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
        # Some peers trip over a server that hangs up on an idle connection, which is not what is measured.
        "--timeout-keep-alive=75",
    ]
    with running(command, core=core, ready=f"http://127.0.0.1:{port}/"):
        yield f"http://127.0.0.1:{port}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))
