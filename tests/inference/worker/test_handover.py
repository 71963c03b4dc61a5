"""Messages of Celery become calls on its pool, whatever they say and whatever becomes of them."""

import base64
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery.concurrency.thread import TaskPool
from celery.exceptions import InvalidTaskError

from inference import protocol
from inference.engines.base import Manifest
from inference.worker.handover import Handover, OnMessage, read
from inference.worker.host import WorkerHost
from portal.kit import redis
from tests.inference.worker.conftest import Offer
from tests.inference.worker.worker_process import RunningWorker, await_that

Ran = list[tuple[str, str, int, str]]


def message(*arguments: object, queue: str = "version.v") -> Any:
    return SimpleNamespace(
        payload=[list(arguments), {}, {}], headers={"id": "t"}, delivery_info={"routing_key": queue}
    )


@pytest.fixture
def pool() -> Iterator[TaskPool]:
    pool = TaskPool(1)
    yield pool
    pool.executor.shutdown()


@pytest.fixture
def ran() -> Ran:
    return []


@pytest.fixture
def host() -> WorkerHost:
    host = WorkerHost(memory_bytes=1)
    facts = Manifest(
        task="text-generation", architecture="none", context_length=1, weight_bytes=1, memory_bytes=1
    )
    assert host.begin_load("v", facts)
    return host


@pytest.fixture
def on_message(pool: TaskPool, ran: Ran, host: WorkerHost) -> OnMessage:
    def run(version: str, request: str, *, attempt: int, token: str) -> None:
        if request == "broken":
            raise RuntimeError("of all things")
        ran.append((version, request, attempt, token))

    return Handover(run, host=host)(None, None, SimpleNamespace(pool=pool))


def test_a_message_is_run_with_its_version_and_token(on_message: OnMessage, pool: TaskPool, ran: Ran) -> None:
    on_message(message("r"))
    on_message(message("s", 1, queue="version.w"))
    pool.executor.shutdown()
    assert ran == [("v", "r", 0, "t"), ("w", "s", 1, "t")]


def test_what_goes_wrong_is_said_and_the_next_message_runs(
    on_message: OnMessage, pool: TaskPool, ran: Ran, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        on_message(message("broken"))
        on_message(message("r"))
        pool.executor.shutdown()
    assert "request broken came to nothing" in caplog.text
    assert "of all things" in caplog.text
    assert [request for _, request, _, _ in ran] == ["r"]


def test_only_what_is_handed_over_takes_a_slot(
    on_message: OnMessage, pool: TaskPool, host: WorkerHost
) -> None:
    replica = host.find("v")
    assert replica
    with pytest.raises(InvalidTaskError):
        on_message(message())
    assert replica.reserved() == 0
    on_message(message("r"))
    assert replica.reserved() == 1
    host.release("v", "t")
    pool.executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        on_message(message("s"))
    assert replica.reserved() == 0


@pytest.mark.parametrize("arguments", [(), ("r", "not a number"), ("r", float("inf")), ("r", 0, "more")])
def test_other_arguments_are_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(InvalidTaskError, match=protocol.RUN_TASK):
        read(message(*arguments))


@pytest.mark.parametrize("part", ["headers", "delivery_info"])
@pytest.mark.parametrize("said", [{}, {"routing_key": 5}])
def test_messages_without_the_rest_are_refused(part: str, said: dict[str, Any]) -> None:
    broken = message("r")
    setattr(broken, part, said)
    with pytest.raises(InvalidTaskError):
        read(broken)


def test_a_worker_survives_messages_that_nobody_can_read(
    offer: Callable[..., Offer], workers: Callable[..., RunningWorker]
) -> None:
    offered, _ = offer(), workers()
    caller = offered.caller()
    caller.generate(offered.version, max_tokens=2)
    caller.read()
    queue = protocol.queue_name(offered.version.pk.hex)
    for body in ("[[], {}, {}]", "no JSON", '{"neither": "list"}'):
        redis.client().lpush(queue, written(body, queue=queue))
    await_that(lambda: redis.client().llen(queue) == 0)
    request = caller.generate(offered.version, max_tokens=5)
    caller.read(seconds=20)
    assert caller.outcomes[request].outcome == "succeeded"


def written(body: str, *, queue: str) -> str:
    """A message as Celery puts it into Redis."""
    token = str(uuid.uuid4())
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": protocol.RUN_TASK, "id": token, "root_id": token},
            "properties": {
                "correlation_id": token, "delivery_mode": 2, "priority": 0, "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": token,
            },
        }
    )  # fmt: skip
