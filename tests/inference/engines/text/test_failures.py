"""One request's failure is its own: the others' answers do not change, and the engine goes on."""

import logging
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engines.base import BatchRequest, Chunk, EngineClosing, RequestRefused
from inference.engines.pulse import FAILED_STEPS_ALLOWED
from inference.engines.text import generating
from inference.engines.text.detokenizer import TextStream
from inference.engines.text.engine import TextEngine
from inference.engines.text.kv_cache import Pool
from inference.engines.text.runner import Runner
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import CONTEXT, VOCAB, Collector, answer, ask

Run = Callable[..., Any]
PROMPTS = {"a": [3] * 20, "victim": [4] * 21, "b": [5] * 22}


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="inference.engines.text")


def break_for(monkeypatch: pytest.MonkeyPatch, run: Callable[[Run, Any, list[Any]], Any]) -> None:
    original = Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, works: run(original, self, works))


def ask_all(engine: TextEngine, sink: Collector) -> dict[str, str]:
    return answer(engine, sink, [ask(name, prompt) for name, prompt in PROMPTS.items()])


@pytest.fixture
def expected(llama: Path, start: Start) -> dict[str, str]:
    apart = Collector()
    return ask_all(start(llama, sink=apart), apart)


def check_only_the_victim_failed(engine: TextEngine, sink: Collector, expected: dict[str, str]) -> None:
    """Now and in what follows: also a prompt that begins like the victim's gets its right answer."""
    for name in ("a", "b"):
        assert sink.text(name) == expected[name]
        assert sink.last(name).finish_reason == "length"
    last = sink.last("victim")
    assert last.finish_reason == "error"
    assert last.error
    assert last.usage is not None
    assert last.usage["input_tokens"] == 21
    assert sum(chunk.finish_reason is not None for chunk in sink.chunks["victim"]) == 1
    assert engine.capacity().busy == 0
    assert engine.stats().failures == 1


def concerns_the_victim(works: list[Any]) -> bool:
    return any(work.sequence.request.id == "victim" for work in works)


def test_nan_logits_end_one_request(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    def run(original: Run, self: Any, works: list[Any]) -> Any:
        completing, logits = original(self, works)
        for row, work in enumerate(completing):
            if work.sequence.request.id == "victim" and work.sequence.sampled == 3:
                logits[row, 5] = torch.nan
        return completing, logits

    break_for(monkeypatch, run)
    engine = start(llama)
    ask_all(engine, sink)
    check_only_the_victim_failed(engine, sink, expected)
    assert sink.last("victim").usage["output_tokens"] == 3  # type: ignore[index]


def test_nan_in_the_cache_does_not_outlive_its_request(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    engine = start(llama)
    cache = engine._cache

    def run(original: Run, self: Any, works: list[Any]) -> Any:
        result = original(self, works)
        for work in works:
            if work.sequence.request.id == "victim" and work.sequence.sampled == 3:
                cache.pools[work.sequence.pool].values[0][work.sequence.slot] = torch.nan
        return result

    break_for(monkeypatch, run)
    ask_all(engine, sink)
    check_only_the_victim_failed(engine, sink, expected)
    # Whoever gets that slot next must not see it, not even behind a mask.
    repeats = [ask(f"{name}{n}", prompt) for n in range(4) for name, prompt in PROMPTS.items()]
    assert all(text == expected[name.rstrip("0123")] for name, text in answer(engine, sink, repeats).items())


@pytest.mark.parametrize("error", [RuntimeError("boom"), torch.OutOfMemoryError("full"), MemoryError()])
def test_a_forward_pass_that_fails_is_retried_without_the_culprit(
    error: Exception,
    llama: Path,
    start: Start,
    sink: Collector,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, str],
) -> None:
    def run(original: Run, self: Any, works: list[Any]) -> Any:
        if concerns_the_victim(works):
            raise error
        return original(self, works)

    break_for(monkeypatch, run)
    engine = start(llama)
    ask_all(engine, sink)
    check_only_the_victim_failed(engine, sink, expected)


def test_a_step_too_large_for_memory_is_done_in_smaller_ones(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    largest = 17

    def run(original: Run, self: Any, works: list[Any]) -> Any:
        if sum(work.count for work in works) > largest:
            raise torch.OutOfMemoryError
        return original(self, works)

    break_for(monkeypatch, run)
    assert ask_all(start(llama), sink) == expected


def test_what_a_failed_step_had_computed_is_gone_when_its_halves_are_tried(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    left: list[weakref.ref[torch.Tensor]] = []

    def run(original: Run, self: Any, works: list[Any]) -> Any:
        assert not any(tensor() is not None for tensor in left), "memory is held by what failed"
        if len(works) > 1:
            activations = torch.zeros(1000)
            left.append(weakref.ref(activations))
            raise torch.OutOfMemoryError
        return original(self, works)

    break_for(monkeypatch, run)
    assert ask_all(start(llama), sink) == expected
    assert left


def test_a_neighbours_failure_does_not_change_what_a_seed_draws(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = ask("drawn", [5] * 20, max_tokens=20, temperature=1.5, seed=11)
    apart = Collector()
    expected = answer(start(llama, sink=apart), apart, [drawn])["drawn"]
    original = generating.choose

    def choose(logits: torch.Tensor, choosers: list[Any]) -> Any:
        choices = original(logits, choosers)
        if any(c.sampling.stop == ("boom",) for c in choosers):
            raise ValueError("sampling")
        return choices

    monkeypatch.setattr(generating, "choose", choose)
    asked = [drawn, ask("victim", [4] * 20, stop=("boom",), temperature=1.0)]
    assert answer(start(llama), sink, asked)["drawn"] == expected
    assert sink.last("victim").finish_reason == "error"


def limit_cache(monkeypatch: pytest.MonkeyPatch, *, slots: int) -> None:
    """A device with less memory left than the cache was promised."""
    resize = Pool.resize

    def resize_within(self: Pool, wanted: int, **where: Any) -> None:
        if wanted > slots:
            raise torch.OutOfMemoryError
        resize(self, wanted, **where)

    monkeypatch.setattr(Pool, "resize", resize_within)


@pytest.mark.parametrize("slots", [1, 2])
def test_requests_wait_when_the_device_has_less_memory_than_was_promised(
    slots: int,
    llama: Path,
    start: Start,
    sink: Collector,
    monkeypatch: pytest.MonkeyPatch,
    expected: dict[str, str],
) -> None:
    limit_cache(monkeypatch, slots=slots)
    engine = start(llama)
    assert ask_all(engine, sink) == expected
    assert engine.stats().failures == 0


def test_a_device_without_any_memory_left_ends_requests_one_by_one(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    engine = start(llama)
    with monkeypatch.context() as patch:
        limit_cache(patch, slots=0)
        ask_all(engine, sink)
    assert all(sink.last(name).finish_reason == "error" for name in PROMPTS)
    assert engine.capacity().busy == 0
    sink.chunks.clear()
    assert ask_all(engine, sink) == expected


def test_sampling_that_fails_for_one_row_ends_that_request(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    original = generating.choose

    def choose(logits: torch.Tensor, choosers: list[Any]) -> Any:
        if any(c.sampling.stop == ("boom",) for c in choosers):
            raise ValueError("sampling")
        return original(logits, choosers)

    monkeypatch.setattr(generating, "choose", choose)
    engine = start(llama)
    requests = {name: ask(name, prompt) for name, prompt in PROMPTS.items()}
    requests["victim"] = ask("victim", PROMPTS["victim"], stop=("boom",))
    answer(engine, sink, requests.values())
    check_only_the_victim_failed(engine, sink, expected)


class BrokenSink(Collector):
    """Refuses the victim's ordinary chunks, and every flush."""

    def emit(self, request_id: str, chunk: Chunk) -> None:
        if request_id == "victim" and not chunk.finish_reason:
            raise ConnectionError("no one there")
        super().emit(request_id, chunk)

    def flush(self) -> None:
        raise ConnectionError("no one there")


def test_a_sink_that_fails_for_one_request_ends_that_request(
    llama: Path, start: Start, expected: dict[str, str]
) -> None:
    sink = BrokenSink()
    engine = start(llama, sink=sink)
    ask_all(engine, sink)
    check_only_the_victim_failed(engine, sink, expected)


def test_a_bug_in_a_step_fails_what_is_in_flight_but_not_the_engine(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    engine = start(llama)
    with monkeypatch.context() as patch:
        patch.setattr(engine._generator.scheduler, "plan", lambda: 1 / 0)
        answer(engine, sink, [ask("lost", [1, 2])])
    assert sink.last("lost").finish_reason == "error"
    assert ask_all(engine, sink) == expected


class Panic(BaseException):
    """As native code raises it: no `Exception`."""


def panic(*_: Any) -> Any:
    raise Panic("index out of bounds")


def test_a_panic_in_a_step_ends_all_requests_and_the_engine_says_that_it_is_over(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(llama)
    monkeypatch.setattr(Runner, "run", panic)
    ask_all(engine, sink)
    engine._thread.join(10)
    for name in PROMPTS:
        assert [chunk.finish_reason for chunk in sink.chunks[name]] == ["error"]
    assert engine.health().failure == "Panic: index out of bounds"
    assert (engine.capacity().slots, engine.capacity().busy) == (0, 0)
    with pytest.raises(EngineClosing):
        engine.submit(ask("later", [1, 2]))


def test_a_tokenizer_that_panics_at_one_request_ends_that_request(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch, expected: dict[str, str]
) -> None:
    push = TextStream.push

    def push_all_but_the_victims(self: TextStream, *token: Any) -> str:
        return panic() if self._stop == ("boom",) else push(self, *token)

    monkeypatch.setattr(TextStream, "push", push_all_but_the_victims)
    engine = start(llama)
    requests = {name: ask(name, prompt) for name, prompt in PROMPTS.items()}
    requests["victim"] = ask("victim", PROMPTS["victim"], stop=("boom",))
    answer(engine, sink, requests.values())
    check_only_the_victim_failed(engine, sink, expected)
    assert engine.health().failure is None


def test_a_tokenizer_that_panics_at_every_request_ends_the_engine(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextStream, "push", panic)
    monkeypatch.setattr(TextStream, "finish", panic)
    engine = start(llama)
    ask_all(engine, sink)
    engine._thread.join(10)
    assert engine.health().failure
    assert all([c.finish_reason for c in sink.chunks[name]] == ["error"] for name in PROMPTS)


def test_steps_that_fail_one_after_the_other_end_the_engine(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start(llama)
    monkeypatch.setattr(engine._generator.scheduler, "plan", lambda: 1 / 0)
    for number in range(FAILED_STEPS_ALLOWED):
        assert engine.health().failure is None
        answer(engine, sink, [ask(f"lost{number}", [1, 2])])
    engine._thread.join(10)
    assert "ZeroDivisionError" in (engine.health().failure or "")


def test_a_step_that_does_not_return_is_seen(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stand_still(original: Run, self: Any, works: list[Any]) -> Any:
        begun.set()
        assert go_on.wait(60)
        return original(self, works)

    break_for(monkeypatch, stand_still)
    engine = start(llama)
    assert engine.health().step_seconds == 0
    engine.submit(ask("a", [1, 2], max_tokens=1))
    assert begun.wait(60)
    first = engine.health().step_seconds
    assert engine.health().step_seconds > first > 0
    go_on.set()
    sink.wait("a")


def test_a_device_that_fails_for_good_still_lets_every_request_end(
    llama: Path, start: Start, sink: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(Runner, "run", fail)
    monkeypatch.setattr("inference.engines.text.kv_cache.KVCache.release", fail)
    engine = start(llama)
    for _ in range(2):
        ask_all(engine, sink)
        assert all(sink.last(name).finish_reason == "error" for name in PROMPTS)
        sink.chunks.clear()
    assert engine.capacity().busy == 0


def test_a_device_that_fails_for_good_does_not_keep_the_model(
    llama: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("device-side assert")

    engine = start(llama)
    monkeypatch.setattr(engine._cache, "clear", fail)
    engine.close(drain=True, timeout=10)
    assert not hasattr(engine._generator.runner, "_decode")


def test_parameters_no_one_foresaw_fail_only_their_request(
    llama: Path, start: Start, sink: Collector, expected: dict[str, str]
) -> None:
    engine = start(llama)
    engine.submit(ask("odd", [1, 2], seed=[]))
    assert ask_all(engine, sink) == expected
    sink.wait("odd")
    assert sink.last("odd").finish_reason == "error"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask("r", []), "empty"),
        (ask("r", [1] * CONTEXT), "context holds"),
        (ask("r", [1, VOCAB]), "token id outside"),
        (ask("r", [-1]), "token id outside"),
        (ask("r", [1], logit_bias={VOCAB: 1.0}), "logit_bias"),
        (ask("r", [1], max_tokens=0), "max_tokens"),
        (BatchRequest(id="r", items=[[1]]), "prompts"),
    ],
)
def test_what_can_never_run_is_refused_at_once(
    request_: Any, message: str, llama: Path, start: Start, sink: Collector
) -> None:
    engine = start(llama)
    with pytest.raises(RequestRefused, match=message):
        engine.submit(request_)
    assert engine.capacity().busy == 0
    assert not sink.chunks
