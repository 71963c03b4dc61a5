"""A worker that is told to stop sees real calls through, however long they still run within its time."""

import time
from collections.abc import Callable
from pathlib import Path

from inference.worker.serving import ENGINE_SECONDS, FLUSH_SECONDS
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker
from tests.tiny_models import write_llama

# Longer than all that the end of a worker waits for besides its calls.
RUNS_ON_SECONDS = ENGINE_SECONDS + FLUSH_SECONDS


def test_a_call_that_runs_long_after_sigterm_delivers_every_token(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    offered = offer(directory=write_llama(tmp_path / "slow", layers=12, width=512))
    worker, caller = workers(memory_bytes=2**31), offered.caller()
    # At whatever pace, one of them ends soon after any moment.
    wanted = {caller.generate(offered.version, max_tokens=tokens): tokens for tokens in range(80, 1_010, 40)}
    outcomes = caller.outcomes
    caller.read(until=lambda: all(outcome.chunks for outcome in outcomes.values()))
    told_at = time.monotonic()
    worker.ask_to_stop()
    early: set[str] = set()

    def ended() -> set[str]:
        return {request for request, outcome in outcomes.items() if outcome.outcome}

    def one_ends_late() -> bool:
        if time.monotonic() - told_at < RUNS_ON_SECONDS:
            early.update(ended())
        return bool(ended() - early) or len(early) == len(wanted)

    caller.read(seconds=60, until=one_ends_late)
    assert ended() - early, "the calls were too short to tell"
    for request in ended():
        outcome, tokens = outcomes[request], wanted[request]
        assert (outcome.outcome, outcome.finish_reason) == ("succeeded", "length")
        # A token that ends within a character makes no chunk of its own.
        assert outcome.indices == list(range(len(outcome.indices))), "no chunk is missing"
        assert len(outcome.indices) > tokens / 2
        assert outcome.quantities["output_tokens"] == tokens
    for request in wanted.keys() - ended():
        caller.cancel(request)
    caller.read(seconds=20)
    assert worker.process.wait(20) == 0, worker.log
    assert {outcome.outcome for outcome in outcomes.values()} <= {"succeeded", "cancelled"}
