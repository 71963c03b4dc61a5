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
from inference.worker.handover import Handover, OnMessage, read
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
def on_message(pool: TaskPool, ran: Ran) -> OnMessage:
    def run(version: str, request: str, *, attempt: int, token: str) -> None:
        if request == "broken":
            raise RuntimeError("of all things")
        ran.append((version, request, attempt, token))

    return Handover(run)(None, None, SimpleNamespace(pool=pool))


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


@pytest.mark.parametrize("arguments", [(), ("r", "not a number"), ("r", 0, "more")])
def test_other_arguments_are_refused(arguments: tuple[object, ...]) -> None:
    with pytest.raises(InvalidTaskError, match=protocol.RUN_TASK):
        read(message(*arguments))


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
