"""Two workers on one machine: shared load, two versions, a death and a stop."""

import time
from collections.abc import Callable
from pathlib import Path

from billing.credit import keys
from inference import protocol
from portal.kit import redis
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that
from tests.tiny_models import write_llama


def test_two_workers_serve_two_versions(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    first, second = offer("first", seed=1), offer("second", seed=2)
    room_for_one = int(first.version.memory_bytes * 1.5)
    both = [workers(memory_bytes=room_for_one) for _ in range(2)]
    callers = [first.caller(), second.caller()]
    for caller, offered in zip(callers, (first, second), strict=True):
        caller.generate(offered.version)
        caller.read()
    homes = {outcome.worker for caller in callers for outcome in caller.outcomes.values()}
    assert homes == {worker.state().id for worker in both}  # type: ignore[union-attr]


def test_a_second_worker_shares_the_load_of_one_version(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    offered = offer(directory=write_llama(tmp_path / "slow", layers=4, width=256))
    both = [workers(), workers()]
    caller = offered.caller()
    caller.generate(offered.version)
    caller.read()
    assert sum(bool(worker.resident()) for worker in both) == 1, "one is enough for one call"
    caller.generate_many(offered.version, 150, max_tokens=400)
    caller.read(seconds=200)
    assert {outcome.outcome for outcome in caller.outcomes.values()} == {"succeeded"}
    shared = {outcome.worker for outcome in caller.outcomes.values()}
    assert shared == {worker.state().id for worker in both}, "".join(worker.log for worker in both)  # type: ignore[union-attr]


def test_sigterm_drops_no_call(offer: Callable[..., Offer], workers: Callable[..., RunningWorker]) -> None:
    offered = offer()
    one, other = workers(), workers()
    caller = offered.caller()
    caller.generate(offered.version)
    caller.read()
    serving = one if offered.version.pk.hex in one.resident() else other
    idle = other if serving is one else one

    caller.generate_many(offered.version, 40, max_tokens=400)
    caller.read(until=lambda: sum(bool(outcome.chunks) for outcome in caller.outcomes.values()) > 20)
    serving.ask_to_stop()
    for _ in range(40):
        caller.generate(offered.version, max_tokens=100)
    caller.read(seconds=90)
    assert serving.process.wait(40) == 0, serving.log
    outcomes = list(caller.outcomes.values())
    assert {outcome.outcome for outcome in outcomes} == {"succeeded"}, serving.log + idle.log
    assert idle.state().id in {outcome.worker for outcome in outcomes}  # type: ignore[union-attr]
    assert sum(outcome.quantities["output_tokens"] for outcome in outcomes) == 16 + 40 * 400 + 40 * 100
    assert serving.state() is None
    assert redis.client().xlen(keys.USAGE_STREAM) == 81


def test_a_killed_worker_s_lease_lapses_at_once_and_the_next_call_is_served_elsewhere(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    doomed = workers()
    caller = offered.caller()
    request = caller.generate(offered.version, max_tokens=900)
    caller.read(until=lambda: caller.outcomes[request].chunks > 3)
    lease = protocol.worker_key(caller.outcomes[request].worker)
    doomed.kill()
    killed_at = time.monotonic()
    await_that(lambda: not redis.client().exists(lease), seconds=5)
    assert time.monotonic() - killed_at < protocol.WORKER_LEASE_SECONDS + 0.2
    assert not redis.client().exists(protocol.payload_key(request)), "a begun call is never sent again"

    survivor = workers()
    again = offered.caller()
    served = again.generate(offered.version)
    again.read()
    assert again.outcomes[served].outcome == "succeeded", survivor.log
