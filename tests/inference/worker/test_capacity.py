"""Memory and slots: what is evicted, and what a full engine stops."""

from collections.abc import Callable
from pathlib import Path

from inference import protocol
from inference.models import Replica, Worker
from portal.kit import redis
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that
from tests.tiny_models import write_llama


def test_the_least_recently_used_idle_version_makes_room(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offers = {name: offer(name, seed=seed) for seed, name in enumerate("abc")}
    size = offers["a"].version.memory_bytes
    worker = workers(memory_bytes=int(size * 2.5))

    def call(name: str) -> None:
        caller = offers[name].caller()
        request = caller.generate(offers[name].version)
        caller.read()
        assert caller.outcomes[request].outcome == "succeeded", worker.log

    for name in "abac":
        call(name)
    kept = {offers[name].version.pk.hex for name in "ac"}
    assert worker.resident() == kept, "b was used longest ago"
    call("b")
    gone = Replica.objects.filter(state=Replica.State.UNLOADED, worker=Worker.objects.get())
    await_that(lambda: gone.count() == 2)


def test_a_busy_version_is_not_evicted(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    busy, cold = offer("busy", seed=1), offer("cold", seed=2)
    worker = workers(memory_bytes=int(busy.version.memory_bytes * 1.5))
    running, waiting = busy.caller(), cold.caller()
    long = running.generate(busy.version, max_tokens=900)
    running.read(until=lambda: running.outcomes[long].chunks > 3)
    request = waiting.generate(cold.version)
    running.read()
    assert running.outcomes[long].quantities["output_tokens"] == 900, worker.log
    waiting.want(cold.version)
    waiting.read()
    assert waiting.outcomes[request].outcome == "succeeded", worker.log


def test_a_full_engine_stops_its_own_queue_only(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    slow = write_llama(tmp_path / "slow", layers=4, width=256)
    full, free = offer("full", directory=slow), offer("free")
    worker = workers()
    flood, one = full.caller(), free.caller()
    one.generate(free.version)
    one.read()
    flood.generate(full.version)
    flood.read()
    slots = next(r.slots for r in worker.state().replicas if r.version == full.version.pk.hex)  # type: ignore[union-attr]
    requests = flood.generate_many(full.version, slots + 10, max_tokens=900)
    queue = protocol.queue_name(full.version.pk.hex)
    flood.read(until=lambda: sum(bool(o.worker) for o in flood.outcomes.values()) == slots + 1)
    assert redis.client().llen(queue) == 10, "what the engine cannot take stays with the broker"

    request = one.generate(free.version)
    one.read(seconds=20)
    assert one.outcomes[request].outcome == "succeeded"
    assert redis.client().llen(queue) == 10, "and the full engine was still full meanwhile"
    for running in requests[:slots]:
        flood.cancel(running)
    flood.read(until=lambda: all(flood.outcomes[request].worker for request in requests))


def test_a_version_larger_than_every_worker_is_refused_with_its_size(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    worker = workers(memory_bytes=offered.version.memory_bytes // 2)
    caller = offered.caller()
    request = caller.generate(offered.version)
    caller.read(seconds=10)
    assert caller.outcomes[request].outcome == "failed", worker.log
    megabytes = offered.version.memory_bytes / 1e6
    assert f"needs {megabytes:.1f} MB" in (caller.outcomes[request].error or "")


def test_corrupt_weights_fail_clearly_and_are_not_tried_over_and_over(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], tmp_path: Path
) -> None:
    # Weights of its own: the storage is content-addressed, and other tests use theirs.
    offered = offer("broken", directory=write_llama(tmp_path / "broken", seed=99))
    damage(offered)
    worker = workers()
    caller = offered.caller()
    caller.generate_many(offered.version, 3)
    caller.read()
    later = caller.generate(offered.version)
    caller.read()
    for outcome in caller.outcomes.values():
        assert outcome.outcome == "failed", worker.log
        assert "could not be loaded" in (outcome.error or "")
    assert caller.outcomes[later].error
    assert redis.client().exists(protocol.load_error_key(offered.version.pk.hex))
    failed = Replica.objects.filter(state=Replica.State.FAILED)
    await_that(lambda: failed.count() == 1)
    assert failed.get().error
    assert worker.resident() == set()


def damage(offered: Offer) -> None:
    """Change a byte of the stored weights behind everybody's back."""
    from marketplace.weights.storage import name_of, weights_storage

    stored = offered.version.files.get(path="model.safetensors")
    path = Path(weights_storage().path(name_of(stored.sha256)))
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[-1] ^= 0xFF
    path.write_bytes(content)
