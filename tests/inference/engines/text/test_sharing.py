"""Owners share a full engine: who makes way goes on later, to the same answer and at the same cost."""

from dataclasses import replace
from pathlib import Path

from inference.engines.base import GenerateRequest
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import Collector, answer, ask

FLOOD = [
    replace(ask(f"flood{n}", [3 + n] * (20 + n), max_tokens=120, scope="flood"), owner="flood")
    for n in range(4)
]
MODEST = [
    replace(ask(f"modest{n}", [9 + n] * 18, max_tokens=10, scope="modest"), owner="modest") for n in range(2)
]


def facts(sink: Collector, requests: list[GenerateRequest]) -> dict[str, tuple[str, object, object]]:
    last = {request.id: sink.last(request.id) for request in requests}
    return {
        name: (sink.text(name), chunk.usage["output_tokens"], chunk.usage["cached_tokens"])  # type: ignore[index]
        for name, chunk in last.items()
    }


def test_a_newcomer_is_served_while_a_flood_fills_the_engine(
    llama: Path, start: Start, sink: Collector
) -> None:
    apart = Collector()
    answer(start(llama, sink=apart), apart, [*FLOOD, *MODEST])
    engine = start(llama, slots=4)
    for request in FLOOD:
        engine.submit(request)
    for request in FLOOD:
        sink.wait_for_text(request.id, chunks=3)
    for request in MODEST:
        engine.submit(request)
    sink.wait(*(request.id for request in MODEST))
    assert not any(sink.is_done(request.id) for request in FLOOD), "it waited for the flood"
    sink.wait(*(request.id for request in FLOOD))
    assert facts(sink, [*FLOOD, *MODEST]) == facts(apart, [*FLOOD, *MODEST])
    paused = [sink.last(request.id).usage["compute_ms"] for request in FLOOD]  # type: ignore[index]
    assert all(paused)
    assert engine.capacity().busy == 0
    assert engine.stats().output_tokens == 4 * 120 + 2 * 10


def test_who_has_made_way_can_be_cancelled(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama, slots=2)
    flood = [replace(request, sampling=replace(request.sampling, max_tokens=400)) for request in FLOOD[:2]]
    for request in flood:
        engine.submit(request)
    for request in flood:
        sink.wait_for_text(request.id, chunks=3)
    slow = replace(MODEST[0], sampling=replace(MODEST[0].sampling, max_tokens=300))
    engine.submit(slow)
    sink.wait_for_text(slow.id, chunks=2)
    for request in [*flood, slow]:
        engine.cancel(request.id)
    sink.wait(*(request.id for request in [*flood, slow]))
    assert {sink.last(request.id).finish_reason for request in flood} == {"cancelled"}
    assert engine.capacity().busy == 0
