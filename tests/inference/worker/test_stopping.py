"""A worker that is told to stop lets its calls run on for as long as the operator says, and no longer."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from celery.worker import state
from django.conf import settings

from inference.worker.calls import Call, Calls
from inference.worker.draining import Draining
from portal.kit import ids
from portal.supervisor.processes import list_programs
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that
from tests.tiny_models import write_llama


@dataclass
class Quiet:
    """The rest of a worker, which has nothing to wait for."""

    stopping: bool = False
    woken: threading.Event = field(default_factory=threading.Event)

    def stop(self, *, timeout: float) -> bool:
        return True

    def wait_handed_over(self, *, timeout: float) -> bool:
        return True

    def beat_soon(self) -> None:
        pass

    def nudge(self) -> None:
        self.woken.set()


@pytest.fixture
def drain(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Quiet]:
    monkeypatch.setattr(state, "should_stop", None)

    def begin(calls: Calls, *, seconds: float) -> Quiet:
        rest: Any = Quiet()
        Draining(calls=calls, consuming=rest, placement=rest, registry=rest, seconds=seconds).begin()
        return rest

    return begin


def open_call() -> tuple[Calls, Call]:
    calls = Calls()
    call = Call(id=ids.uuid7().hex, version="v", reply="r")
    calls.begin(call)
    return calls, call


def test_a_call_within_the_time_is_waited_for(drain: Callable[..., Quiet]) -> None:
    calls, call = open_call()
    rest = drain(calls, seconds=60)
    assert not rest.woken.wait(1)
    assert state.should_stop is None
    calls.end(call.id)
    assert rest.woken.wait(5), "the end of the last call ends the worker at once"
    assert state.should_stop == 0


def test_a_call_beyond_the_time_is_cut_off(drain: Callable[..., Quiet]) -> None:
    calls, _ = open_call()
    assert drain(calls, seconds=0.3).woken.wait(5)


def test_without_calls_nothing_is_waited_for(drain: Callable[..., Quiet]) -> None:
    assert drain(Calls(), seconds=60).woken.wait(2)


def test_the_supervisor_kills_no_worker_that_still_drains() -> None:
    for seconds in (settings.WORKER_DRAIN_SECONDS, 900):
        programs = list_programs({"WORKER_DRAIN_SECONDS": str(seconds)})
        (worker,) = (program for program in programs if program.name == "worker")
        assert worker.grace_s > seconds + 20


def test_a_second_signal_ends_a_worker_that_drains(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    offered = offer(directory=write_llama(tmp_path / "slow", layers=4, width=256))
    worker = workers()
    caller = offered.caller()
    requests = caller.generate_many(offered.version, 60, max_tokens=900)
    caller.read(until=lambda: sum(bool(outcome.chunks) for outcome in caller.outcomes.values()) > 10)
    worker.ask_to_stop()
    time.sleep(3)
    assert worker.process.poll() is None, "calls are still open"
    worker.ask_to_stop()
    await_that(lambda: worker.process.poll() is not None, seconds=20, why=lambda: worker.log)
    caller.read(seconds=5, until=lambda: not list(caller._entries()))
    assert any(caller.outcomes[request].outcome != "succeeded" for request in requests), "it did not wait"
