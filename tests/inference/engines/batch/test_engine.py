"""One terminal chunk per request, whatever happens to it or to its neighbours."""

import threading
import weakref

import pytest
import torch

from inference.engines.base import BatchRequest, EngineClosing, GenerateRequest, RequestRefused, Sampling
from inference.engines.batch import engine
from inference.engines.batch.engine import CPU_LIMITS
from tests.inference.engines.batch.conftest import Bench
from tests.inference.engines.batch.models import write_model

POISON = 77


@pytest.fixture
def bench(load, tmp_path) -> Bench:
    write_model(tmp_path, "bert", "Model")
    return load(tmp_path, "feature-extraction")


def test_an_idle_engine_answers_without_waiting_for_company(bench):
    assert bench.ask("r", [[5, 6]]).finish_reason == "stop"
    assert bench.engine.stats().steps == 1
    assert bench.engine.capacity().busy == 0


def test_each_step_is_one_flush(bench, hold):
    gate = hold(bench)
    bench.submit("first", [[5]])
    assert gate.reached.wait(10)
    before = bench.sink.flushes
    for index in range(20):
        bench.submit(f"r{index}", [[5, 6]])
    gate.open.set()
    for index in range(20):
        bench.sink.last(f"r{index}")
    bench.engine.close(drain=True, timeout=10)
    assert bench.sink.flushes - before <= 4


def test_cancelling_a_waiting_request_ends_it_once_and_costs_nothing(bench, hold):
    gate = hold(bench)
    bench.submit("running", [[5]])
    assert gate.reached.wait(10)
    bench.submit("waiting", [[6], [7]])
    bench.engine.cancel("waiting")
    bench.engine.cancel("waiting")
    gate.open.set()
    chunk = bench.sink.last("waiting")
    assert chunk.finish_reason == "cancelled"
    assert chunk.usage == {}
    assert bench.sink.last("running").finish_reason == "stop"


def test_cancelling_midway_reports_what_ran(bench, hold):
    bench.engine._limits = CPU_LIMITS  # a GPU would take both at once
    gate = hold(bench)
    bench.submit("r", [[5], [6] * 60])
    assert gate.reached.wait(10)
    bench.engine.cancel("r")
    gate.open.set()
    chunk = bench.sink.last("r")
    assert chunk.finish_reason == "cancelled"
    assert chunk.usage["input_tokens"] == 1, "the long item had not run"
    assert bench.engine.stats().steps == 1


def test_cancelling_the_unknown_or_ended_changes_nothing(bench):
    bench.engine.cancel("never")
    bench.ask("r", [[5]])
    bench.engine.cancel("r")
    bench.ask("next", [[5]])
    assert len(bench.sink.chunks["r"]) == 1


def test_a_failing_input_ends_alone(bench, hold):
    forward = bench.engine._runner.forward

    def fail_on_poison(items):
        if any(POISON in item.tensor.tolist() for item in items):
            raise RuntimeError("out of memory")
        return forward(items)

    bench.engine._runner.forward = fail_on_poison
    gate = hold(bench)
    bench.submit("first", [[5]])
    assert gate.reached.wait(10)
    for index in range(6):
        bench.submit(f"good-{index}", [[5, index + 2]])
    bench.submit("bad", [[5, POISON]])
    gate.open.set()
    chunk = bench.sink.last("bad")
    assert (chunk.finish_reason, chunk.usage) == ("error", {})
    assert "memory" not in chunk.error, "the inside of the engine is not the caller's business"
    assert all(bench.sink.last(f"good-{index}").finish_reason == "stop" for index in range(6))
    assert bench.engine.stats().failures == 1
    assert bench.ask("after", [[5]]).finish_reason == "stop"


def test_what_a_failed_pass_had_computed_is_gone_when_its_halves_are_tried(bench, hold):
    forward, left = bench.engine._runner.forward, []

    def fail_together(items):
        assert not any(tensor() is not None for tensor in left), "memory is held by what failed"
        if len(items) > 1:
            activations = torch.zeros(1000)
            left.append(weakref.ref(activations))
            raise torch.OutOfMemoryError
        return forward(items)

    bench.engine._runner.forward = fail_together
    assert bench.ask("r", [[5], [6], [7], [8]]).finish_reason == "stop"
    assert len(left) == 3


def test_numbers_that_are_not_finite_end_only_their_request(bench, hold):
    bench.engine._runner.model.embeddings.word_embeddings.weight.data[POISON] = float("nan")
    gate = hold(bench)
    bench.submit("first", [[5]])
    assert gate.reached.wait(10)
    bench.submit("bad", [[5, POISON], [6, POISON]])
    bench.submit("good", [[5, 6]])
    gate.open.set()
    assert "not finite" in bench.sink.last("bad").error
    assert bench.sink.last("good").finish_reason == "stop"


def test_a_broken_policy_ends_the_requests_but_not_the_thread(bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("inference.engines.batch.engine.choose", lambda *_, **__: 1 / 0)
        assert bench.ask("unlucky", [[5]]).finish_reason == "error"
    assert bench.ask("later", [[5]]).finish_reason == "stop"


def test_a_sink_that_raises_does_not_stop_the_engine(bench):
    emit = bench.sink.emit

    def refuse_once(request_id, chunk):
        emit(request_id, chunk)
        if request_id == "r":
            raise ConnectionError("redis is away")

    bench.sink.emit = refuse_once
    bench.ask("r", [[5]])
    assert bench.ask("next", [[5]]).finish_reason == "stop"


def test_one_id_runs_once_at_a_time(bench, hold):
    gate = hold(bench)
    bench.submit("r", [[5]])
    assert gate.reached.wait(10)
    with pytest.raises(RequestRefused, match="already"):
        bench.submit("r", [[5]])
    gate.open.set()
    bench.sink.last("r")


def test_requests_to_generate_and_unknown_parameters_are_refused(bench):
    with pytest.raises(RequestRefused):
        bench.engine.submit(GenerateRequest(id="r", prompt_ids=[5], sampling=Sampling(max_tokens=1)))
    with pytest.raises(RequestRefused, match="temperature"):
        bench.submit("r", [[5]], temperature=1)


def test_draining_finishes_what_is_in_flight_and_refuses_the_rest(bench, hold):
    gate = hold(bench)
    for index in range(5):
        bench.submit(f"r{index}", [[5, 6]])
    assert gate.reached.wait(10)
    closing = threading.Thread(target=bench.engine.close, kwargs={"drain": True, "timeout": 20})
    closing.start()
    while bench.engine._state == "open":
        closing.join(0.01)
    with pytest.raises(RequestRefused, match="unloaded"):
        bench.submit("late", [[5]])
    gate.open.set()
    closing.join(20)
    assert [bench.sink.last(f"r{index}").finish_reason for index in range(5)] == ["stop"] * 5


def test_closing_at_once_ends_what_waits_with_an_error(bench, hold):
    gate = hold(bench)
    bench.submit("running", [[5]])
    assert gate.reached.wait(10)
    bench.submit("waiting", [[6] * 50])
    closing = threading.Thread(target=bench.engine.close, kwargs={"drain": False, "timeout": 0})
    closing.start()
    while bench.engine._state == "open":
        closing.join(0.01)
    gate.open.set()
    closing.join(20)
    assert bench.sink.last("waiting").finish_reason == "error"
    assert len(bench.sink.chunks["running"]) == 1
    bench.engine.close(drain=True, timeout=1)


def test_closing_lets_go_of_the_weights(bench):
    bench.engine.close(drain=True, timeout=10)
    assert list(bench.engine._runner.model.parameters()) == []


def test_many_threads_get_each_their_own_answer(bench):
    def submit(thread: int) -> None:
        for index in range(40):
            items = [[2 + (thread * 7 + index + each) % 100] * (1 + each) for each in range(1 + index % 3)]
            bench.engine.submit(BatchRequest(id=f"{thread}-{index}", items=items))
            if index % 10 == 9:
                bench.engine.cancel(f"{thread}-{index}")

    threads = [threading.Thread(target=submit, args=(thread,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bench.engine.close(drain=True, timeout=30)
    assert len(bench.sink.chunks) == 240
    assert all(len(chunks) == 1 for chunks in bench.sink.chunks.values())
    assert bench.engine.stats().requests == 240
    assert bench.engine.capacity().busy == 0
    assert torch.is_grad_enabled()


class Panic(BaseException):
    """As native code raises it: no `Exception`."""


@pytest.mark.parametrize("where", ["forward", "take"])
def test_a_panic_ends_all_requests_and_the_engine_says_that_it_is_over(bench, hold, where):
    gate = hold(bench)
    bench.submit("first", [[5]])
    assert gate.reached.wait(10)
    bench.submit("second", [[6]])

    def panic(*_):
        raise Panic("index out of bounds")

    if where == "forward":
        bench.engine._runner.forward = panic
    else:
        bench.engine._take_batch = panic
    gate.open.set()
    assert bench.sink.last("second").finish_reason == "error"
    bench.engine._thread.join(10)
    assert bench.engine.health().failure == "Panic: index out of bounds"
    assert (bench.engine.capacity().slots, bench.engine.capacity().busy) == (0, 0)
    with pytest.raises(EngineClosing):
        bench.submit("later", [[7]])


def test_closing_does_not_wait_for_a_step_that_never_returns(bench, hold, monkeypatch):
    monkeypatch.setattr(engine, "GRACE_SECONDS", 0.05)
    gate = hold(bench)
    bench.submit("r", [[5]])
    assert gate.reached.wait(10)
    assert bench.engine.health().step_seconds > 0
    bench.engine.close(drain=True, timeout=0.05)
    gate.open.set()
    assert bench.sink.last("r").finish_reason


def test_owners_take_turns_however_much_one_of_them_has_waiting(bench, hold):
    bench.engine._limits = CPU_LIMITS
    gate = hold(bench)
    bench.submit("first", [[5]])
    assert gate.reached.wait(10)
    for index in range(40):
        bench.engine.submit(BatchRequest(id=f"flood{index}", items=[[5, 6]] * 50, owner="flood"))
    bench.engine.submit(BatchRequest(id="modest", items=[[5, 6] * 35], owner="modest"))
    before = bench.engine.stats().steps
    ended = []
    emit = bench.sink.emit
    bench.sink.emit = lambda request, chunk: (
        ended.append((request, bench.engine.stats().steps)),
        emit(request, chunk),
    )
    gate.open.set()
    assert bench.sink.last("modest").finish_reason == "stop"
    for index in range(40):
        assert bench.sink.last(f"flood{index}").finish_reason == "stop"
    assert dict(ended)["modest"] - before <= 3
    assert bench.engine.stats().steps - before > 20
