"""A Redis that cannot keep what is written says so in several ways; each passes when there is room again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis
from django.test import RequestFactory

from portal.kit import pages
from portal.kit import redis as redis_kit


@contextmanager
def refusing_writes() -> Iterator[None]:
    """Redis refuses writes as it does on a full disk: here for want of a replica."""
    client = redis_kit.client()
    client.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        client.config_set("min-replicas-to-write", 0)


def refusals() -> list[Exception]:
    """What a command, a script and the two kinds of pipelines raise."""
    client, raised = redis_kit.client(), []
    for write in (
        lambda: client.set("some", "thing"),
        lambda: client.eval("return redis.call('SET', KEYS[1], '1')", 1, "some"),
        lambda: client.pipeline(transaction=False).set("some", "thing").execute(),
        lambda: asyncio.run(_write_in_a_pipeline()),
    ):
        with pytest.raises(redis.RedisError) as caught:
            write()
        raised.append(caught.value)
    return raised


async def _write_in_a_pipeline() -> None:
    client = redis_kit.new_async_client()
    try:
        await client.pipeline(transaction=False).set("some", "thing").execute()
    finally:
        await client.aclose()


def test_every_way_of_refusing_a_write_is_known_to_pass() -> None:
    with refusing_writes():
        raised = refusals()
    assert [redis_kit.is_passing(error) for error in raised] == [True] * 4, raised


def test_a_fault_of_ours_does_not_pass() -> None:
    client = redis_kit.client()
    for wrong in ("return redis.call('GET')", "error('BUSYGROUP or OOM, says the text')"):
        with pytest.raises(redis.RedisError) as caught:
            client.eval(wrong, 0)
        assert not redis_kit.is_passing(caught.value)


@pytest.mark.parametrize(("path", "kind"), [("/console/", "text/html"), ("/api/keys/", "application/json")])
def test_a_page_that_cannot_be_had_without_redis_says_when_to_come_back(path: str, kind: str) -> None:
    with refusing_writes(), pytest.raises(redis.RedisError) as caught:
        redis_kit.client().set("some", "thing")
    try:
        raise caught.value
    except redis.RedisError:
        answer = pages.answer_failure(RequestFactory().get(path))
    assert (answer.status_code, answer["Retry-After"]) == (503, "2")
    assert kind in answer["Content-Type"]
