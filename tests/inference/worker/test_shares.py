"""Organisations share the slots of a full engine: a newcomer does not wait for the longest answer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from billing.credit import keys
from inference import protocol
from marketplace import subscribing
from portal.kit import ids, redis
from tests.conftest import Cast
from tests.inference.worker.caller import Caller
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that
from tests.tiny_models import write_bert, write_llama

LONG, SHORT = 600, 4


@dataclass
class Crowd:
    """One organisation that floods a version, and another one."""

    offered: Offer
    flood: Caller
    modest: Caller


@pytest.fixture
def crowd(cast: Cast, offer: Callable[..., Offer], tmp_path: Path) -> Callable[..., Crowd]:
    def make(name: str, **options: object) -> Crowd:
        offered = offer(name, **options)
        plan = offered.subscription.plan_version.plan
        other = subscribing.subscribe(cast.mate.personal_organisation, plan, by=cast.mate, spend_cap=10**9)
        return Crowd(offered, Caller(offered.subscription, in_line=True), Caller(other, in_line=True))

    return make


def slots_of(worker: RunningWorker) -> int:
    state = worker.state()
    assert state is not None
    return state.replicas[0].slots


def test_a_newcomer_to_a_full_engine_is_served_while_the_flood_runs(
    crowd: Callable[..., Crowd], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    crowded = crowd("full", directory=write_llama(tmp_path / "slow", layers=2, width=96))
    version, flood, modest = crowded.offered.version, crowded.flood, crowded.modest
    worker = workers()
    flood.generate(version, max_tokens=1)
    flood.read()
    slots = slots_of(worker)
    running = flood.generate_many(version, slots + 8, max_tokens=LONG)
    flood.read(until=lambda: sum(bool(flood.outcomes[each].worker) for each in running) >= slots)
    short = modest.generate_many(version, 3, max_tokens=SHORT)
    modest.read()
    flood.catch_up()
    assert [modest.outcomes[each].quantities["output_tokens"] for each in short] == [SHORT] * 3, worker.log
    done = [each for each in running if flood.outcomes[each].outcome]
    made = [flood.outcomes[each].chunks for each in running if flood.outcomes[each].worker]
    assert not done, f"it waited for {len(done)} of the flood"
    assert max(made) < LONG * 0.8
    # Who made way goes on, and nothing is lost or doubled.
    flood.read(seconds=240)
    wrong = [flood.outcomes[each] for each in running if flood.outcomes[each].outcome != "succeeded"]
    assert not wrong, worker.log
    assert {flood.outcomes[each].quantities["output_tokens"] for each in running} == {LONG}
    assert redis.client().xlen(keys.USAGE_STREAM) == 1 + len(running) + len(short)
    assert redis.client().zcard(keys.HOLDS) == 0
    await_that(lambda: redis.client().llen(protocol.queue_name(version.pk.hex)) == 0)


def test_a_newcomer_to_a_full_batch_engine_waits_for_a_pass_or_two(
    crowd: Callable[..., Crowd], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    crowded = crowd("vectors", directory=write_bert(tmp_path / "bert"), task="feature-extraction")
    version, flood, modest = crowded.offered.version, crowded.flood, crowded.modest
    worker = workers()

    def embed(caller: Caller, calls: int, items: int) -> list[str]:
        requests = [ids.uuid7() for _ in range(calls)]
        body = {"items": [[5, 6, 7, 8] * 4] * items, "parameters": {}}
        caller.admit(version, requests, worst={"input_tokens": 16 * items})
        for request in requests:
            caller.send(request, version, kind="batch", body=body)
        return [request.hex for request in requests]

    embed(flood, 1, 1)
    flood.read()
    slots = slots_of(worker)
    running = embed(flood, slots + 20, 200)
    flood.read(until=lambda: sum(bool(flood.outcomes[each].worker) for each in running) >= slots)
    embed(modest, 1, 1)
    modest.read()
    flood.catch_up()
    done = [each for each in running if flood.outcomes[each].outcome]
    assert len(done) < len(running) / 4, worker.log
    flood.read(seconds=240)
    assert {flood.outcomes[each].outcome for each in running} == {"succeeded"}


def test_who_is_alone_has_every_slot(
    crowd: Callable[..., Crowd], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    crowded = crowd("alone", directory=write_llama(tmp_path / "slow", layers=2, width=96))
    worker = workers()
    crowded.flood.generate(crowded.offered.version, max_tokens=1)
    crowded.flood.read()
    slots = slots_of(worker)
    running = crowded.flood.generate_many(crowded.offered.version, slots + 8, max_tokens=900)
    crowded.flood.read(
        until=lambda: sum(bool(crowded.flood.outcomes[each].worker) for each in running) >= slots
    )
    await_that(lambda: worker.state().replicas[0].busy >= slots)  # type: ignore[union-attr]
    assert worker.state().replicas[0].busy <= slots + 1  # type: ignore[union-attr]
    for each in running:
        if crowded.flood.outcomes[each].worker:
            crowded.flood.cancel(each)
