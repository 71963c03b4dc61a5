"""What the way between a client and the engine costs: streams through `/v1` against the engine alone.

The worker has one core and one thread; the web process, Redis, Postgres, the meter and the load share the
other. Everything is on: key, epochs, rate limits, hold, Celery message, settlement, durable usage.

- `path.tokens_ratio`: 64 clients stream answers of 32 to 96 tokens to prompts of 48, one after the other, until
  all of a fixed number are served. The engine alone gets the same prompts, 64 at a time, on the same core. They
  take turns, and the median round of each counts.
- `path.latency_ms`: a lone client's whole answer of 16 tokens by a model of one small layer, through the same
  processes: the median of some hundred calls, in the best of several rounds, so that a busy neighbour on the
  machine does not count. The peer is the time that the engine alone takes for it, measured in the same way.
"""

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import uvloop

from benchmarks import alone, language_models, load, site
from benchmarks.language_models import make_prompts
from benchmarks.processes import Target
from benchmarks.results import at_least, at_most, row

COMMAND = "make bench ONLY=path"
PROMPT, ANSWERS, CONCURRENCY = 48, (32, 96), 64
SHORT_PROMPT, SHORT_ANSWER = 8, 16
ROUNDS = 6
# One layer: what is left is the way there and back.
TRIVIAL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "tie_word_embeddings": True, "vocab_size": 512,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, and how many tokens its answer has."""

    prompt: list[int]
    answer: int


def run(quick: bool) -> list[dict[str, Any]]:
    """Needs two cores."""
    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    rest, core = sorted(before)[:2]
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            small = language_models.write_llama(Path(folder) / "small", **language_models.SMALL)
            trivial = language_models.write_llama(Path(folder) / "trivial", **TRIVIAL)
            ratio = measure_ratio(small, core=core, rest=rest, quick=quick)
            return [*ratio, measure_latency(trivial, core=core, rest=rest, seconds=6 if quick else 18)]
    finally:
        os.sched_setaffinity(0, before)
        torch.set_num_threads(threads)


def measure_ratio(directory: Path, *, core: int, rest: int, quick: bool) -> list[dict[str, Any]]:
    """The ratio, and the two rates that it is made of."""
    served, own = [], []
    os.sched_setaffinity(0, {core})  # the engine's thread inherits it; `whole_path` moves this one away
    with alone.engine(directory) as running, whole_path(directory, core=core, rest=rest) as (target, model):
        for number in range(4 if quick else 8):
            asked = make_asked(CONCURRENCY * (2 if quick else 6), seed=number)
            tokens = sum(each.answer for each in asked)
            here = _time_engine(*running, asked)
            through = stream_all(target, model, asked)
            if number:  # the first is to warm up
                own.append(tokens / here)
                served.append(tokens / through)
    rate, peer = statistics.median(served), statistics.median(own)
    return [
        row("path.tokens_ratio", rate / peer, "of the engine's own", command=COMMAND, goal=at_least(0.95)),
        row("path.tokens_per_s", rate, "tok/s", command=COMMAND, peer="the engine alone", peer_value=peer),
    ]


def measure_latency(directory: Path, *, core: int, rest: int, seconds: float) -> dict[str, Any]:
    """The median of a lone client's calls. All ask the same: a trivial model answers at once."""
    (prompt,) = make_prompts(SHORT_PROMPT, 1, seed=0, vocab=TRIVIAL["vocab_size"])
    os.sched_setaffinity(0, {core})
    with alone.engine(directory) as (engine, listener):
        own = [
            statistics.median(
                alone.burst_seconds(engine, listener, [prompt], answer=SHORT_ANSWER) for _ in range(200)
            )
            for _ in range(ROUNDS)
        ]
    with whole_path(directory, core=core, rest=rest) as (target, model):
        body = _body(model, Asked(prompt, SHORT_ANSWER), stream=False)
        served = []
        for _ in range(ROUNDS):
            each = load.run(
                target.url, body, headers=dict(target.headers), concurrency=1, seconds=seconds / ROUNDS
            )
            if each.failures:
                raise RuntimeError(f"{each.failures} calls failed: {each.failure}")
            served.append(each.p50_ms)
    return row(
        "path.latency_ms", min(served), "ms, p50 alone", command=COMMAND, peer="the engine alone",
        peer_value=min(own) * 1000, better="lower", goal=at_most(4),
    )  # fmt: skip


@contextmanager
def whole_path(directory: Path, *, core: int, rest: int) -> Iterator[tuple[Target, str]]:
    """All processes around a model that is loaded; where to POST completions, and the model's name."""
    os.sched_setaffinity(0, {rest})
    with ExitStack() as stack:
        shop = stack.enter_context(site.shop(directory))
        stack.enter_context(site.meter(shop, core=rest))
        stack.enter_context(site.worker(shop, core=core))
        web = stack.enter_context(site.web(shop, core=rest))
        target = Target(f"{web.url}/v1/completions", web.headers, web.pid)
        stream_all(target, shop.model, [Asked([1, 2, 3], 2)])
        yield target, shop.model


def make_asked(count: int, *, seed: int) -> list[Asked]:
    """Answers of different lengths, as real ones are: equal ones would end, and begin, all at once."""
    draw = random.Random(seed)
    return [Asked(prompt, draw.randint(*ANSWERS)) for prompt in make_prompts(PROMPT, count, seed=seed)]


def stream_all(target: Target, model: str, asked: Sequence[Asked]) -> float:
    """Seconds until all are answered. Raises `RuntimeError` if one is not, or not in full."""
    return uvloop.run(_stream_all(target, model, asked))


async def _stream_all(target: Target, model: str, asked: Sequence[Asked]) -> float:
    parts, waiting = urlsplit(target.url), list(reversed(asked))
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(load.Connection, parts.hostname, parts.port))[1]
        for _ in range(min(CONCURRENCY, len(asked)))
    ]

    async def stream(connection: load.Connection) -> None:
        while waiting:
            each = waiting.pop()
            body = _body(model, each, stream=True)
            _check(await connection.ask(load.write_request(target.url, body, dict(target.headers))), each)

    started = time.perf_counter()
    await asyncio.gather(*map(stream, clients))
    took = time.perf_counter() - started
    for client in clients:
        client.close()
    return took


def _check(answer: bytes, asked: Asked) -> None:
    made = re.search(rb'"completion_tokens":(\d+)', answer)
    if made is None or int(made[1]) != asked.answer or not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not a whole answer: {answer[:300]!r} ... {answer[-600:]!r}")


def _body(model: str, asked: Asked, *, stream: bool) -> bytes:
    body = {"model": model, "prompt": asked.prompt, "max_tokens": asked.answer, "temperature": 0}
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return json.dumps(body | streamed).encode()


def _time_engine(engine: Any, listener: alone.Listener, asked: Sequence[Asked]) -> float:
    """Seconds for all, `CONCURRENCY` of them at a time, the next as soon as one has ended."""
    waiting = enumerate(asked)
    listener.expect(len(asked))

    def send_next(_: str) -> None:
        for number, each in waiting:
            alone.ask(engine, str(number), each.prompt, answer=each.answer)
            return

    listener.on_end = send_next
    started = time.perf_counter()
    for _ in range(CONCURRENCY):
        send_next("")
    listener.wait()
    listener.on_end = lambda _: None
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))


if __name__ == "__main__":
    main()
