"""Calls that outlast the time which a stopping worker gives them are cut off with words, and cost nothing."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, usage_events
from tests.inference.gateway.test_endings import holds
from tests.inference.worker.worker_process import RunningWorker, start_worker
from tests.tiny_models import write_llama

DRAIN_SECONDS = 1


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model whose calls take long."""
    return {"text-generation": write_llama(tmp_path_factory.mktemp("slow") / "llama", layers=8, width=512)}


@pytest.fixture
def hands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningWorker]:
    monkeypatch.setenv("WORKER_DRAIN_SECONDS", str(DRAIN_SECONDS))
    running = start_worker(tmp_path)
    running.await_registered()
    yield running
    if running.process.poll() is None:
        running.kill()


@pytest.mark.parametrize("streamed", [True, False])
def test_calls_beyond_the_time_fail_with_words_and_cost_nothing(
    offer: Offers, client: Clients, hands: RunningWorker, streamed: bool
) -> None:
    slow = offer()

    def call(_: int) -> list[Any]:
        answer = client(slow).chat.completions.create(
            model=slow.name, messages=HELLO, max_tokens=1_000, stream=streamed
        )
        return list(answer)

    with ThreadPoolExecutor(16) as threads:
        calls = [threads.submit(call, number) for number in range(16)]
        await_that(lambda: is_busy(hands, 16), seconds=60)
        hands.ask_to_stop()
        told_at = time.monotonic()
        failures = [each.exception(40) for each in calls]
    assert time.monotonic() - told_at < 20
    assert hands.process.wait(30) == 0, hands.log
    for failure in failures:
        assert isinstance(failure, openai.APIError)
        assert "The engine was stopped. You were not charged for this call." in failure.message
        assert failure.code == "run_failed"
    events = usage_events()
    assert [(event[b"o"], int(event[b"c"])) for event in events] == [(b"failed", 0)] * 16
    await_that(lambda: holds() == 0)


def is_busy(worker: RunningWorker, calls: int) -> bool:
    state = worker.state()
    return state is not None and sum(replica.busy for replica in state.replicas) >= calls
