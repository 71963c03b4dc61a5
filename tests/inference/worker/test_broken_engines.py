"""An engine whose thread ends, or stands still, is the end of its calls and of nothing else."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from billing.credit import keys
from inference import quarantine
from inference.models import Replica
from portal.kit import redis
from tests.inference.worker.caller import Caller
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that

# What the worker does at a step of an engine that has had `TOKENS` of them, once the file is there.
BREAKING = """
import os, time
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
class PanicException(BaseException): ...
def panic(): raise PanicException("index out of bounds")
def hang(): time.sleep(3600)
from inference.engines.text.runner import Runner
run = Runner.run
def broken(self, works):
    if os.path.exists({file!r}) and any(len(w.sequence.request.prompt_ids) == 3 for w in works):
        os.unlink({file!r})
        {what}()
    return run(self, works)
Runner.run = broken
"""


def begin(caller: Caller, offered: Offer, count: int) -> list[str]:
    """Endless calls that have had text."""
    requests = caller.generate_many(offered.version, count, max_tokens=900)
    caller.read(until=lambda: all(caller.outcomes[request].chunks for request in requests))
    return requests


@pytest.mark.parametrize("what", ["panic", "hang"])
def test_an_engine_that_breaks_ends_its_calls_and_is_quarantined(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker], tmp_path: Path, what: str
) -> None:
    broken, sound = offer("broken"), offer("sound", seed=1)
    trigger = tmp_path / "break-now"
    worker = workers(
        breaking=textwrap.dedent(BREAKING).format(file=str(trigger), what=what),
        environment={"WORKER_STEP_SECONDS": "1", "WORKER_DRAIN_SECONDS": "60"},
    )
    caller, other = broken.caller(), sound.caller()
    requests = begin(caller, broken, 5)
    trigger.touch()
    caller.read()
    for request in requests:
        ended = caller.outcomes[request]
        assert (ended.outcome, ended.quantities) == ("failed", {}), worker.log
        assert "failed" in (ended.error or "")
    assert redis.client().zcard(keys.HOLDS) == 0
    assert redis.client().xlen(keys.USAGE_STREAM) == len(requests), "one terminal event each"

    version = broken.version.pk.hex
    await_that(lambda: version not in worker.resident())
    found = quarantine.find(redis.client(), [version])[version]
    assert found.kind == ("engine_failed" if what == "panic" else "step_hung")
    await_that(lambda: Replica.objects.filter(version=broken.version, state=Replica.State.FAILED).exists())
    if what == "panic":
        assert "index out of bounds" in found.detail
        request = other.generate(sound.version)
        other.read()
        assert other.outcomes[request].outcome == "succeeded", "the worker serves other versions"
        refused = caller.generate(broken.version)
        caller.read(seconds=20)
        assert "out of service" in (caller.outcomes[refused].error or "")
    else:
        assert worker.process.wait(30) == 70, "it leaves, to be started again"
        assert worker.state() is None


def test_a_version_is_served_again_when_its_quarantine_is_over(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    version = offered.version.pk.hex
    quarantine.begin(redis.client(), version, kind="engine_failed", detail="it broke")
    redis.client().zadd(quarantine.INDEX, {version: 1})
    workers()
    caller = offered.caller()
    request = caller.generate(offered.version)
    caller.read()
    assert caller.outcomes[request].outcome == "succeeded"


def test_each_quarantine_lasts_twice_as_long_as_the_last() -> None:
    client, lasts = redis.client(), []
    for _ in range(9):
        quarantine.begin(client, "v", kind="engine_failed", detail="it broke")
        found = quarantine.find(client, ["v", "other"])["v"]
        lasts.append(round(found.until - (client.time()[0])))
        quarantine.begin(client, "v", kind="engine_failed", detail="again, while it lasts")
        assert quarantine.find(client, ["v"])["v"].until == found.until
        client.zadd(quarantine.INDEX, {"v": 1})
    assert lasts[0] == pytest.approx(quarantine.FIRST_SECONDS, abs=2)
    assert lasts[1] == pytest.approx(2 * quarantine.FIRST_SECONDS, abs=2)
    assert lasts[-1] == pytest.approx(quarantine.MOST_SECONDS, abs=2)
    assert client.ttl(quarantine.key("v")) > 0


LOOPS = {
    "replies": ("inference.worker.replies", "Replies._take"),
    "registry": ("inference.worker.registry", "Registry._beat"),
    "control": ("inference.worker.control", "Control._read"),
    "placement": ("inference.worker.placement", "Placement._look"),
    "newcomers": ("inference.worker.newcomers", "Newcomers.look"),
    "mirror": ("inference.worker.mirror", "Mirror._write"),
    "engine-watch": ("inference.worker.engine_watch", "EngineWatch.look"),
}
LOOP_BREAKING = """
import os, importlib
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
import django; django.setup()
class PanicException(BaseException): ...
def break_once(module, name):
    kind, method = name.split(".")
    kind = getattr(importlib.import_module(module), kind)
    whole, calls = getattr(kind, method), []
    def broken(self, *args):
        calls.append(1)
        if len(calls) == 3: raise PanicException(name)
        return whole(self, *args)
    setattr(kind, method, broken)
for module, name in {loops!r}: break_once(module, name)
"""


def test_a_worker_outlives_a_panic_in_each_of_its_loops(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered = offer()
    worker = workers(breaking=LOOP_BREAKING.format(loops=list(LOOPS.values())))
    caller = offered.caller()
    for _ in range(4):
        request = caller.generate(offered.version, max_tokens=4)
        caller.read()
        assert caller.outcomes[request].outcome == "succeeded", worker.log
    request = caller.generate(offered.version, max_tokens=900)
    caller.read(until=lambda: caller.outcomes[request].chunks > 5)
    caller.cancel(request)
    caller.read()
    assert caller.outcomes[request].outcome == "cancelled"
    await_that(
        lambda: all(f"the service {name} failed" in worker.log for name in LOOPS), why=lambda: worker.log
    )
    assert worker.process.poll() is None
    assert redis.client().zcard(keys.HOLDS) == 0
