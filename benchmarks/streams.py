"""What callers who share a prompt save, and how even streams stay when long prompts arrive.

- `engine.prefix_speedup`: 16 requests of 432 tokens that begin with the same 400, against 16 that share nothing,
  in seconds for all; each answers with 8 tokens. `engine.prefilled_tokens` is the proof: the prompt tokens that
  the engine says it computed (its own `input_tokens` less `cached_tokens`) are at most the 400 once and 32 for
  each request.
- `engine.inter_token_ms`: 16 streams run when prompts of 1,500 tokens arrive. Gaps
  between a stream's tokens, with the engine's own steps, with one whole prompt per step (chunking off), and
  without the long prompts. Gaps count from the first long prompt's arrival to the last one's end.
"""

import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import alone
from benchmarks.language_models import make_prompts
from benchmarks.results import at_most, row, times
from inference.engines.text import scheduler

SHARED, REST, SHARERS = 400, 32, 16
STREAMS, STREAMED, LONG_PROMPT, LONG_PROMPTS = 16, 240, 1500, 4
WHOLE = "one whole prompt per step"
WITHOUT = "no long prompts"


def run(directory: Path, *, command: str, quick: bool) -> list[dict[str, Any]]:
    """Rows of both. On the cores and threads that the caller has chosen."""
    rows = measure_prefix(directory, command=command, rounds=2 if quick else 5)
    return rows + measure_gaps(directory, command=command, long_prompts=2 if quick else LONG_PROMPTS)


def measure_prefix(directory: Path, *, command: str, rounds: int) -> list[dict[str, Any]]:
    """The best of several rounds of either; every round's prompts are new."""
    shared, apart, computed = [], [], []
    with alone.engine(directory) as (engine, listener):
        for number in range(rounds + 1):
            (start,) = make_prompts(SHARED, 1, seed=number)
            rests = make_prompts(REST, SHARERS, seed=1000 + number)
            prompts = [start + rest for rest in rests]
            shared.append(alone.burst_seconds(engine, listener, prompts, answer=8))
            computed.append(
                sum(usage["input_tokens"] - usage["cached_tokens"] for usage in listener.usage.values())
            )
            others = make_prompts(SHARED + REST, SHARERS, seed=2000 + number)
            apart.append(alone.burst_seconds(engine, listener, others, answer=8))
    # The first round of each is to warm up.
    least, most = SHARED + SHARERS * REST, SHARERS * (SHARED + REST)
    return [
        row("engine.prefix_speedup", min(shared[1:]), "s for 16 requests", command=command,
            peer="nothing shared", peer_value=min(apart[1:]), better="lower", goal=times(3)),
        row("engine.prefilled_tokens", max(computed), "tokens for 16 requests", command=command,
            peer="nothing shared", peer_value=most, better="lower", goal=at_most(least)),
    ]  # fmt: skip


def measure_gaps(directory: Path, *, command: str, long_prompts: int) -> list[dict[str, Any]]:
    """p50 and p99 of ours against either peer."""
    ours = _gaps(directory, long_prompts=long_prompts)
    peers = {
        WHOLE: _gaps(directory, long_prompts=long_prompts, whole=True),
        WITHOUT: _gaps(directory, long_prompts=0),
    }
    return [
        row(f"engine.inter_token_ms_{name}", _share(ours, share), "ms", command=command, peer=peer,
            peer_value=_share(gaps, share), better="lower",
            goal=times(2) if (peer, name) == (WHOLE, "p99") else None)
        for peer, gaps in peers.items()
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]  # fmt: skip


def _gaps(directory: Path, *, long_prompts: int, whole: bool = False) -> list[float]:
    """Milliseconds between neighbouring tokens of each stream, ascending."""
    with ExitStack() as stack:
        options = {}
        if whole:
            # No step is too long, and one takes any prompt.
            stack.enter_context(mock.patch.object(scheduler, "STEP_SECONDS", 3600.0))
            options = {"step_tokens": 4 * LONG_PROMPT}
        engine, listener = stack.enter_context(alone.engine(directory, **options))
        alone.burst_seconds(engine, listener, make_prompts(LONG_PROMPT, 1, seed=1), answer=2)  # warms up
        listener.expect(STREAMS + long_prompts)
        for number, prompt in enumerate(make_prompts(48, STREAMS, seed=2)):
            alone.ask(engine, f"stream {number}", prompt, answer=STREAMED)
        _await_all_started(listener)
        started = time.perf_counter()
        for number, prompt in enumerate(make_prompts(LONG_PROMPT, long_prompts, seed=3)):
            alone.ask(engine, f"long {number}", prompt, answer=1)
        listener.wait()
    return _between(listener, since=started)


def _await_all_started(listener: alone.Listener) -> None:
    deadline = time.monotonic() + alone.PATIENCE_SECONDS
    while sum(len(times) > 4 for times in list(listener.arrivals.values())) < STREAMS:
        if time.monotonic() > deadline:
            raise TimeoutError("the streams did not start")
        time.sleep(0.005)


def _between(listener: alone.Listener, *, since: float) -> list[float]:
    ends = [times[-1] for name, times in listener.arrivals.items() if name.startswith("long")]
    until = max(ends, default=float("inf"))
    return sorted(
        1000 * (later - earlier)
        for name, times in listener.arrivals.items()
        if name.startswith("stream")
        for earlier, later in itertools.pairwise(times)
        if later > since and earlier < until
    )


def _share(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
