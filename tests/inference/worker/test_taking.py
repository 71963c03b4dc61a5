"""How a worker takes a call: once, whatever Redis loses, and never deaf to a cancellation."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from redis import Connection, Redis, ResponseError
from redis.exceptions import ConnectionError

from billing.credit import keys
from inference import protocol
from inference.engines.base import Capacity, Chunk, Manifest, Request
from inference.worker.calls import Calls
from inference.worker.control import Control
from inference.worker.host import WorkerHost
from inference.worker.replies import Replies
from inference.worker.running import Runner
from inference.worker.serving import new_client
from portal.celery import app
from portal.kit import ids, redis
from tests.full_redis import full
from tests.inference.worker.caller import Caller
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that

WORKER = ids.uuid7()


class LosingConnection(Connection):
    """Loses the answer to the next taking of a call that Redis has carried out, once `is_armed`."""

    is_armed = False
    _loses = False

    def send_packed_command(self, command: Any, **options: Any) -> None:  # type: ignore[override]
        sent = command if isinstance(command, bytes) else b"".join(command)
        self._loses = LosingConnection.is_armed and b"EVAL" in sent and b"inference:payload:" in sent
        super().send_packed_command(command, **options)

    def read_response(self, *args: Any, **options: Any) -> Any:
        answer = super().read_response(*args, **options)
        if self._loses:
            self._loses = LosingConnection.is_armed = False
            raise ConnectionError("lost on the way")
        return answer


@dataclass
class Gears:
    """What a worker makes of calls, without its process. As an engine it knows only what was submitted."""

    client: "Redis"
    version: str
    calls: Calls = field(default_factory=Calls)
    submitted: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    before_submit: Callable[[str], None] = lambda request: None

    def __post_init__(self) -> None:
        self.manifest = Manifest(
            task="text-generation", architecture="none", context_length=1024, weight_bytes=1, memory_bytes=1
        )
        self.host = WorkerHost(memory_bytes=2**30)
        replica = self.host.begin_load(self.version, self.manifest)
        assert replica is not None
        self.host.complete_load(replica, self, seconds=0)  # type: ignore[arg-type]
        self.replies = Replies(self.client, calls=self.calls, worker_id=WORKER.hex)
        self.replies.start()
        self.control = Control(self.client, worker_id=WORKER, calls=self.calls, host=self.host)
        self.runner = Runner(
            self.client, app=app, host=self.host, calls=self.calls, replies=self.replies, worker_id=WORKER.hex
        )

    def run(self, request: str) -> None:
        self.runner.run(self.version, request, attempt=0, token=request)

    def submit(self, request: Request) -> None:
        self.before_submit(request.id)
        self.submitted.append(request.id)

    def cancel(self, request_id: str) -> None:
        if request_id in self.submitted:
            self.cancelled.append(request_id)

    def capacity(self) -> Capacity:
        return Capacity(slots=4, busy=0)


@pytest.fixture
def offered(offer: Callable[..., Offer]) -> Offer:
    return offer()


@pytest.fixture
def caller(offered: Offer) -> Caller:
    return offered.caller()


@pytest.fixture
def gears(offered: Offer) -> Iterator[Gears]:
    client = new_client()
    client.connection_pool.connection_class = LosingConnection
    made = Gears(client, offered.version.pk.hex)
    yield made
    made.replies.stop(timeout=5)


def test_a_call_whose_taking_was_answered_into_the_void_runs(
    offered: Offer, caller: Caller, gears: Gears
) -> None:
    request = caller.generate(offered.version)
    LosingConnection.is_armed = True
    gears.run(request)
    assert not LosingConnection.is_armed, "an answer was lost"
    assert gears.submitted == [request]
    assert gears.calls.find(request) is not None


def test_a_message_that_comes_twice_runs_once(offered: Offer, caller: Caller, gears: Gears) -> None:
    request = caller.generate(offered.version)
    payload = redis.client().get(protocol.payload_key(request))

    def come_again(_: str) -> None:
        redis.client().set(protocol.payload_key(request), payload)
        gears.run(request)

    gears.before_submit = come_again
    gears.run(request)
    assert gears.submitted == [request]
    assert gears.calls.find(request) is not None


def test_a_cancellation_just_before_the_engine_has_the_call_stops_it(
    offered: Offer, caller: Caller, gears: Gears
) -> None:
    request = caller.generate(offered.version)
    gears.before_submit = gears.control.cancel
    gears.run(request)
    assert gears.cancelled == [request]


def test_a_call_that_redis_refuses_to_give_is_left_to_others(
    offered: Offer, caller: Caller, gears: Gears
) -> None:
    request = caller.generate(offered.version)
    redis.client().set(protocol.reply_stream(caller.web_id), "no stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        gears.run(request)
    assert gears.calls.all() == []
    assert redis.client().exists(protocol.payload_key(request))


def test_an_end_that_redis_refuses_is_recorded_when_it_no_longer_does(
    offered: Offer, caller: Caller, gears: Gears
) -> None:
    request = caller.generate(offered.version)
    gears.run(request)
    sink = gears.replies.sink()
    redis.client().config_set("min-replicas-to-write", 1)
    try:
        sink.emit(request, Chunk(text="one"))
        sink.emit(
            request, Chunk(text="two", finish_reason="stop", usage={"input_tokens": 3, "output_tokens": 2})
        )
        sink.flush()
        with pytest.raises(AssertionError):
            await_that(lambda: gears.calls.find(request) is None, seconds=0.5)
    finally:
        redis.client().config_set("min-replicas-to-write", 0)
    caller.read(seconds=10)
    ended = caller.outcomes[request]
    assert (ended.outcome, ended.text, ended.quantities["output_tokens"]) == ("succeeded", "onetwo", 2)
    assert redis.client().xlen(keys.USAGE_STREAM) == 1
    await_that(lambda: gears.calls.find(request) is None)


def test_an_end_that_redis_will_never_take_is_failed_and_free(
    offered: Offer, caller: Caller, gears: Gears
) -> None:
    request = caller.generate(offered.version)
    gears.run(request)
    sink = gears.replies.sink()
    sink.emit(request, Chunk(text="all", finish_reason="stop", usage={"output_tokens": "many"}))  # type: ignore[dict-item]
    sink.flush()
    caller.read(seconds=10)
    assert caller.outcomes[request].outcome == "failed"
    assert redis.client().zcard(keys.HOLDS) == 0


def test_a_full_redis_lets_a_call_begin_that_waited(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered, worker = offer(), workers()
    caller = offered.caller()
    caller.generate(offered.version)
    caller.read()
    worker.process.send_signal(signal.SIGSTOP)
    request = caller.generate(offered.version, max_tokens=5)
    with full():
        worker.process.send_signal(signal.SIGCONT)
        caller.read(seconds=20)
    assert (caller.outcomes[request].outcome, caller.outcomes[request].chunks) == ("succeeded", 4)
