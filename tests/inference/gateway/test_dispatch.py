"""The message that the event loop writes is one that a real Celery worker runs."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from redis import ConnectionError as LostConnection
from redis import TimeoutError as Late
from redis.asyncio import Redis as AsyncRedis

from inference import protocol
from inference.gateway import kept, waiting
from inference.gateway.commands import SharedCommands
from inference.gateway.dispatch import CeleryPublisher, RedisPublisher, new_publisher
from inference.gateway.errors import Overloaded, ServiceUnavailable, TooMuchWaiting, headers_of
from inference.gateway.process import GatewayProcess
from inference.gateway.retrying import attempts
from portal.celery import app
from portal.kit import ids, redis
from tests.inference.gateway.conftest import await_that

ROOT = Path(__file__).resolve().parents[3]
VERSION = "0" * 32
ORGANISATION = UUID(int=1)
CONSUMER = f"""
import sys
from inference.gateway.errors import Overloaded
from portal.celery import app
from portal.kit import redis

@app.task(name="{protocol.RUN_TASK}", bind=True)
def run(task, request, attempt=0):
    redis.client().rpush("seen", f"{{request}} {{attempt}} {{task.request.id}} {{task.request.retries}}")

app.worker_main(["worker", "-P", "solo", "-Q", "{protocol.queue_name(VERSION)}", "--without-gossip",
                 "--without-mingle", "--loglevel", "INFO"])
"""


def call(request: UUID, *, version: str = VERSION, organisation: UUID = ORGANISATION) -> Any:
    return SimpleNamespace(
        hex=request.hex, version=version, facts=SimpleNamespace(organisation_id=organisation)
    )


async def test_a_celery_worker_runs_what_the_gateway_wrote(tmp_path: Path) -> None:
    client = redis.new_async_client()
    publisher = RedisPublisher(SharedCommands(client))
    first, second = ids.uuid7(), ids.uuid7()
    assert await publisher.publish(call(first), packed=b"payload") == 1
    assert await publisher.publish(call(second), packed=None) == 2
    assert redis.client().get(protocol.payload_key(first.hex)) == b"payload"
    assert 0 < redis.client().ttl(protocol.payload_key(first.hex)) <= protocol.PAYLOAD_SECONDS
    await client.aclose()
    log = tmp_path / "celery.log"
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-c", CONSUMER], cwd=ROOT, env=os.environ, stdout=output, stderr=output
        )
    try:
        await_that(lambda: redis.client().llen("seen") == 2, seconds=60)
    finally:
        worker.kill()
        worker.wait()
    seen = [entry.decode().split() for entry in redis.client().lrange("seen", 0, -1)]
    assert [entry[:2] for entry in seen] == [[first.hex, "0"], [second.hex, "0"]], log.read_text()
    assert all(UUID(entry[2]) and entry[3] == "0" for entry in seen)


async def test_both_publishers_send_the_same_message() -> None:
    client = redis.new_async_client()
    request = ids.uuid7()
    queue = protocol.queue_name(VERSION)
    await RedisPublisher(SharedCommands(client)).publish(call(request), packed=None)
    ours = json.loads(redis.client().rpop(queue))
    await CeleryPublisher(client).publish(call(request), packed=None)
    theirs = json.loads(redis.client().rpop(queue))
    await client.aclose()
    assert ours.keys() == theirs.keys()
    assert ours["properties"].keys() == theirs["properties"].keys()
    ours["body"], theirs["body"] = (json.loads(base64.b64decode(each["body"])) for each in (ours, theirs))
    assert ours["body"] == theirs["body"]
    changing = {"id", "root_id", "origin"}
    known = {name: value for name, value in theirs["headers"].items() if name not in changing}
    assert {name: ours["headers"].get(name) for name in known} == known


async def test_another_broker_is_left_to_celery() -> None:
    client = redis.new_async_client()
    commands = SharedCommands(client)
    for broker, kind in (("redis://here/0", RedisPublisher), ("amqp://there", CeleryPublisher)):
        made = new_publisher(client, commands=commands, broker_url=broker, redis_url="redis://here/0")
        assert isinstance(made, kind)
    await client.aclose()
    assert app.conf.task_ignore_result


async def test_shared_commands_keep_answers_apart() -> None:
    client = redis.new_async_client()
    commands = SharedCommands(client)

    async def one(number: int) -> list[Any]:
        return await commands.run(("SET", f"k{number}", number), ("GET", f"k{number}"))

    answers = await asyncio.gather(*(one(number) for number in range(2_000)))
    assert [int(answer[1]) for answer in answers] == list(range(2_000))
    results = await asyncio.gather(
        commands.run(("GET", "k1")),
        commands.run(("INCR",)),
        commands.run(("GET", "k2")),
        return_exceptions=True,
    )
    assert (results[0], results[2]) == ([b"1"], [b"2"])
    assert isinstance(results[1], Exception)
    await client.aclose()


async def test_a_lost_connection_fails_who_waits_and_nobody_after() -> None:
    client = redis.new_async_client()
    commands = SharedCommands(client)
    waiting = asyncio.ensure_future(commands.run(("BLPOP", "nothing", 30)))
    await asyncio.sleep(0.2)
    redis.client().client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(LostConnection):
        await waiting
    assert await commands.run(("ECHO", "again")) == [b"again"]
    await client.aclose()


async def test_all_who_wait_share_one_attempt_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    client = AsyncRedis.from_url("redis://127.0.0.1:1/0")
    attempts = []

    async def refused(*_: Any) -> None:
        attempts.append(1)
        await asyncio.sleep(0.05)
        raise LostConnection("refused")

    monkeypatch.setattr(client.connection_pool, "get_connection", refused)
    commands = SharedCommands(client)
    for number in (1, 2):
        every = await asyncio.gather(
            *(commands.run(("ECHO", "x")) for _ in range(50)), return_exceptions=True
        )
        assert {type(each) for each in every} == {LostConnection}
        assert len(attempts) == number


async def test_a_late_answer_is_nobody_elses() -> None:
    client = AsyncRedis.from_url(settings.REDIS_URL, socket_timeout=0.2)
    commands = SharedCommands(client)
    assert await commands.run(("ECHO", "before")) == [b"before"]
    redis.client().client_pause(700, all=True)
    both = await asyncio.gather(
        commands.run(("ECHO", "late")), commands.run(("ECHO", "later")), return_exceptions=True
    )
    assert [type(each) for each in both] == [Late, Late]
    await asyncio.sleep(0.8)
    assert await commands.run(("ECHO", "after")) == [b"after"]
    await client.aclose()


async def test_a_full_queue_takes_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "QUEUE_LIMIT", 2)
    client = redis.new_async_client()
    publisher = RedisPublisher(SharedCommands(client))
    for number in range(2):
        each = call(ids.uuid7(), organisation=UUID(int=number))
        await publisher.publish(each, packed=b"payload")
    before = sorted(redis.client().keys())
    with pytest.raises(Overloaded) as refused:
        await publisher.publish(call(ids.uuid7(), organisation=UUID(int=3)), packed=b"payload")
    await client.aclose()
    assert refused.value.data["waiting"] == 2
    assert redis.client().llen(protocol.queue_name(VERSION)) == 2
    assert sorted(redis.client().keys()) == before


@pytest.mark.parametrize("celery", [False, True])
async def test_payloads_that_wait_have_a_limit_of_bytes(
    monkeypatch: pytest.MonkeyPatch, celery: bool
) -> None:
    monkeypatch.setattr(waiting, "QUEUE_BYTES", 100)
    client = redis.new_async_client()
    publisher = CeleryPublisher(client) if celery else RedisPublisher(SharedCommands(client))
    requests = [ids.uuid7() for _ in range(4)]
    for request in requests[:2]:
        await publisher.publish(call(request), packed=bytes(50))
    with pytest.raises(Overloaded):
        await publisher.publish(call(requests[2]), packed=b"x")
    assert redis.client().llen(protocol.queue_name(VERSION)) == 2
    assert not redis.client().exists(protocol.payload_key(requests[2].hex))
    # A worker takes one, and says so to nobody.
    redis.client().delete(protocol.payload_key(requests[0].hex))
    await asyncio.sleep(0.15)
    await publisher.publish(call(requests[3]), packed=bytes(50))
    with pytest.raises(Overloaded):
        await publisher.publish(call(requests[2]), packed=b"x")
    await client.aclose()
    assert 0 < redis.client().ttl(waiting.WAITING) <= protocol.PAYLOAD_SECONDS


@pytest.mark.parametrize("limit", ["ORGANISATION_BYTES", "TOTAL_BYTES"])
async def test_no_organisation_fills_redis_through_many_versions(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(waiting, limit, 100)
    client = redis.new_async_client()
    publisher = RedisPublisher(SharedCommands(client))
    mine = [call(ids.uuid7(), version=f"{number:032x}") for number in range(4)]
    for each in mine[:2]:
        await publisher.publish(each, packed=bytes(50))
    before = sorted(redis.client().keys())
    with pytest.raises(TooMuchWaiting if limit == "ORGANISATION_BYTES" else ServiceUnavailable) as refused:
        await publisher.publish(mine[2], packed=b"x")
    assert headers_of(refused.value)["retry-after"] == str(waiting.RETRY_SECONDS)
    assert sorted(redis.client().keys()) == before
    other = call(ids.uuid7(), organisation=UUID(int=2))
    if limit == "ORGANISATION_BYTES":
        await publisher.publish(other, packed=bytes(50))
    else:
        with pytest.raises(ServiceUnavailable):
            await publisher.publish(other, packed=b"x")
    redis.client().delete(protocol.payload_key(mine[0].hex))
    await asyncio.sleep(0.15)
    await publisher.publish(mine[3], packed=bytes(50))
    await client.aclose()


async def test_what_waits_is_not_counted_for_every_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "TOTAL_BYTES", 2_000)
    client = redis.new_async_client()
    publisher = RedisPublisher(SharedCommands(client))
    for number in range(2_000):
        await publisher.publish(call(ids.uuid7(), version=f"{number:032x}"), packed=b"x")
    redis.client().config_resetstat()
    for _ in range(50):
        with pytest.raises(ServiceUnavailable):
            await publisher.publish(call(ids.uuid7()), packed=b"x")
    counted: Any = redis.client().info("commandstats")
    assert counted["cmdstat_exists"]["calls"] < 20 * 2_000
    await client.aclose()


async def test_what_is_known_of_taken_payloads_is_forgotten() -> None:
    client = redis.new_async_client()
    publisher = RedisPublisher(SharedCommands(client))
    for _ in range(2_500):
        request = ids.uuid7()
        await publisher.publish(call(request), packed=b"payload")
        redis.client().delete(protocol.payload_key(request.hex), protocol.queue_name(VERSION))
    await client.aclose()
    assert redis.client().hlen(waiting.WAITING) < 1_100


async def test_less_may_wait_and_be_kept_where_redis_holds_less() -> None:
    assert waiting.limits() == waiting.Limits(256 * 2**20, 256 * 2**20, 2**30)
    said = redis.client().config_get("maxmemory")
    redis.client().config_set("maxmemory", 64 * 2**20)
    process = GatewayProcess()
    try:
        await process.open()
        assert process._publisher.limits == waiting.Limits(8 * 2**20, 8 * 2**20, 32 * 2**20)
        assert process.kept.limits == kept.Limits(organisation=2 * 2**20, total=8 * 2**20)
        assert process.attempt_limits == attempts.Limits(organisation=1024, total=4096)
    finally:
        redis.client().config_set("maxmemory", said["maxmemory"])
        await process.close()
