"""Requests come, wait, stream, are cancelled and end exactly once; the engine drains and stops."""

import random
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from inference.engines.base import Capacity, Chunk, RequestRefused
from inference.engines.text.memory import estimate_memory
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import CONFIGS, CONTEXT, Collector, answer, ask


def count_last(sink: Collector, request_id: str) -> int:
    return sum(chunk.finish_reason is not None for chunk in sink.chunks[request_id])


def test_usage_counts_prompt_answer_and_reuse(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama)
    for name in ("first", "second"):
        answer(engine, sink, [ask(name, [7] * 40, max_tokens=5)])
        usage = sink.last(name).usage
        assert usage is not None
        assert usage.keys() == {"input_tokens", "output_tokens", "cached_tokens", "requests", "compute_ms"}
        assert (usage["input_tokens"], usage["output_tokens"], usage["requests"]) == (40, 5, 1)
        assert usage["cached_tokens"] == (0 if name == "first" else 32)
    stats = engine.stats()
    assert (stats.requests, stats.input_tokens, stats.output_tokens, stats.cached_tokens) == (2, 80, 10, 32)


def test_every_step_streams_and_flushes_once(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama)
    answer(engine, sink, [ask("a", [1, 2, 3], max_tokens=30)])
    engine.close(drain=True, timeout=10)
    assert len(sink.chunks["a"]) > 15
    assert engine.stats().steps == 30
    assert 30 <= sink.flushes <= 32


def test_a_stop_string_ends_the_answer_before_it(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama)
    whole = answer(engine, sink, [ask("whole", [1, 2, 3], max_tokens=40)])["whole"]
    place = next(
        i for i in range(8, 30) if whole.find(whole[i : i + 3]) == i and "\ufffd" not in whole[i : i + 3]
    )
    stop = whole[place : place + 3]
    answer(engine, sink, [ask("cut", [1, 2, 3], max_tokens=40, stop=("never", stop), logprobs=0)])
    assert sink.text("cut") == whole[:place]
    assert sink.last("cut").finish_reason == "stop"
    shown = b"".join(bytes(piece) for piece in sink.pieces("cut")).decode("utf-8", "replace")
    assert shown.startswith(whole[:place])
    assert stop not in shown


def test_an_answer_never_grows_beyond_the_context(llama: Path, start: Start, sink: Collector) -> None:
    answer(start(llama), sink, [ask("a", [1] * (CONTEXT - 3), max_tokens=50)])
    assert sink.last("a").finish_reason == "length"
    assert sink.last("a").usage["output_tokens"] == 3  # type: ignore[index]


def test_cancelling_a_running_request_charges_what_was_generated(
    llama: Path, start: Start, sink: Collector
) -> None:
    engine = start(llama)
    engine.submit(ask("a", [1] * 10, max_tokens=400))
    sink.wait_for_text("a", chunks=3)
    engine.cancel("a")
    sink.wait("a")
    assert sink.last("a").finish_reason == "cancelled"
    assert 3 <= sink.last("a").usage["output_tokens"] < 400  # type: ignore[index]
    steps = engine.stats().steps
    engine.cancel("a")
    engine.cancel("never seen")
    answer(engine, sink, [ask("b", [1], max_tokens=2)])
    assert engine.stats().steps == steps + 2
    assert count_last(sink, "a") == 1


@pytest.mark.parametrize("length", [3, 300])
def test_a_cancelled_request_gets_at_most_one_more_step(length: int, llama: Path, start: Start) -> None:
    class Impatient(Collector):
        """Cancels the victim when the companion's third token comes."""

        def emit(self, request_id: str, chunk: Chunk) -> None:
            super().emit(request_id, chunk)
            if request_id == "companion" and len(self.chunks[request_id]) == 3:
                self.cancelled_at = engine.stats().steps
                engine.cancel("victim")
            if request_id == "victim" and chunk.finish_reason:
                self.ended_at = engine.stats().steps

    sink = Impatient()
    engine = start(llama, sink=sink, step_tokens=16)
    engine.submit(ask("companion", [1, 2], max_tokens=40, logprobs=0))
    engine.submit(ask("victim", list(range(1, length + 1)), max_tokens=100, logprobs=0))
    sink.wait("victim", "companion")
    assert sink.last("victim").finish_reason == "cancelled"
    assert sink.ended_at - sink.cancelled_at <= 1
    assert sink.last("companion").finish_reason == "length"


def test_cancelling_a_waiting_request_ends_it_unused(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama, slots=1)
    engine.submit(ask("running", [1] * 10, max_tokens=400))
    engine.submit(ask("waiting", [2] * 10))
    sink.wait_for_text("running")
    engine.cancel("waiting")
    sink.wait("waiting")
    assert not sink.is_done("running")
    assert sink.last("waiting").finish_reason == "cancelled"
    assert sink.last("waiting").usage["output_tokens"] == 0  # type: ignore[index]


def test_capacity_counts_running_and_waiting(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama, slots=2)
    for name in "abc":
        engine.submit(ask(name, [1] * 10, max_tokens=400))
    assert engine.capacity() == Capacity(slots=2, busy=3)
    for name in "abc":
        engine.cancel(name)
    sink.wait("a", "b", "c")
    assert engine.capacity().busy == 0


def test_an_id_runs_once_at_a_time(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama)
    engine.submit(ask("a", [1] * 10, max_tokens=400))
    with pytest.raises(RequestRefused, match="already running"):
        engine.submit(ask("a", [2]))
    engine.cancel("a")
    sink.wait("a")
    answer(engine, sink, [ask("a", [2], max_tokens=1)])


def test_requests_wait_when_memory_is_short_and_none_fails(
    llama: Path, start: Start, sink: Collector
) -> None:
    config = {"model_type": "llama"} | CONFIGS["llama"]
    one = estimate_memory(config, slots=1, context=CONTEXT, weight_bytes=700_000)
    engine = start(llama, memory=one)
    apart = Collector()
    roomy = start(llama, sink=apart)
    draw = random.Random(1)
    requests = [
        ask(str(n), [draw.randrange(1, 300) for _ in range(draw.choice([5, 100, 300, 450]))], max_tokens=12)
        for n in range(20)
    ]
    assert answer(engine, sink, requests) == answer(roomy, apart, requests)
    assert engine._cache.allocated_tokens <= 2 * CONTEXT < roomy._cache.allocated_tokens
    assert all(sink.last(r.id).finish_reason == "length" for r in requests)


def test_many_threads_submit_and_cancel_and_every_request_ends_once(
    llama: Path, start: Start, sink: Collector
) -> None:
    engine = start(llama, slots=6)

    def use(number: int) -> None:
        draw = random.Random(number)
        for n in range(12):
            name = f"{number}-{n}"
            prompt = [draw.randrange(1, 300) for _ in range(draw.randrange(1, 80))]
            engine.submit(
                ask(name, prompt, max_tokens=draw.randrange(1, 30), temperature=draw.choice([0.0, 1.0]))
            )
            if draw.random() < 0.4:
                time.sleep(draw.random() * 0.01)
                engine.cancel(name)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [f"{number}-{n}" for number in range(6) for n in range(12)]
    sink.wait(*names)
    engine.close(drain=True, timeout=10)
    assert all(count_last(sink, name) == 1 for name in names)
    assert all(sink.last(name).finish_reason in ("length", "cancelled") for name in names)
    assert engine.capacity().busy == 0


def test_closing_with_drain_finishes_what_is_in_flight(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama, slots=2)
    for name in "abcd":
        engine.submit(ask(name, [1, 2], max_tokens=20))
    engine.close(drain=True, timeout=30)
    assert all(sink.last(name).finish_reason == "length" for name in "abcd")
    with pytest.raises(RequestRefused, match="stopping"):
        engine.submit(ask("late", [1]))


def test_closing_lets_go_of_weights_and_cache(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama)
    answer(engine, sink, [ask("a", [1, 2], max_tokens=3)])
    decoder: Any = engine._generator.runner._decode
    weights = [weakref.ref(decoder._embed), weakref.ref(decoder._layers[0]._qkv.weight)]
    del decoder
    engine.close(drain=True, timeout=10)
    assert [weight() for weight in weights] == [None, None]
    assert engine._cache.allocated_tokens == 0


def test_closing_without_drain_ends_the_rest_as_errors(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama, slots=1)
    for name in "ab":
        engine.submit(ask(name, [1, 2], max_tokens=500))
    sink.wait_for_text("a")
    engine.close(drain=False, timeout=10)
    for name in "ab":
        assert sink.last(name).finish_reason == "error"
        assert count_last(sink, name) == 1
    assert not engine._thread.is_alive()


@pytest.mark.parametrize("drain", [True, False])
def test_no_request_is_lost_between_submit_and_close(
    drain: bool, llama: Path, start: Start, sink: Collector
) -> None:
    engine = start(llama)
    accepted: list[str] = []

    def keep_submitting() -> None:
        for number in range(100_000):
            try:
                engine.submit(ask(str(number), [1, 2], max_tokens=2))
            except RequestRefused:
                return
            accepted.append(str(number))

    thread = threading.Thread(target=keep_submitting)
    thread.start()
    time.sleep(0.05)
    engine.close(drain=drain, timeout=30)
    thread.join()
    assert accepted
    assert all(count_last(sink, name) == 1 for name in accepted)
    if drain:
        assert all(sink.last(name).finish_reason == "length" for name in accepted)


def test_a_long_prompt_does_not_stall_anothers_tokens(llama: Path, start: Start) -> None:
    class Ordered(Collector):
        """Keeps the order in which chunks of all requests came."""

        order: list[str] = []

        def emit(self, request_id: str, chunk: Chunk) -> None:
            self.order.append(request_id)
            super().emit(request_id, chunk)

    sink = Ordered()
    engine = start(llama, sink=sink, step_tokens=16)
    engine.submit(ask("talker", [1, 2, 3], max_tokens=200, logprobs=0))
    sink.wait_for_text("talker", chunks=2)
    before = len(sink.order)
    engine.submit(ask("long", list(range(1, 301)), max_tokens=2, logprobs=0))
    sink.wait("long")
    steps_to_first: Any = sink.order.index("long") - before
    assert steps_to_first >= 300 // 16
