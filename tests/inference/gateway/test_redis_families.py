"""A busy world leaves nothing in Redis that the table of its keys does not know, or that outlives what it says."""

from pathlib import Path

import httpx
from django.test import Client

from billing import metering
from inference.gateway import waiting
from inference.worker import beating
from portal.kit import epochs, ids, queue, redis
from tests import redis_families
from tests.inference.gateway.conftest import await_that
from tests.inference.gateway.test_calls import Clients, Offers, Workers
from tests.inference.gateway.test_endings import ask
from tests.inference.gateway.test_predictions import image_input
from tests.inference.gateway.test_retrying import Post, post
from tests.inference.remote.conftest import Remotes, loopback_allowed, remote, speaker
from tests.inference.worker.worker_process import start_worker

__all__ = ["loopback_allowed", "post", "remote", "speaker"]


def strays() -> list[str]:
    return list(redis_families.find_strays(redis.client()))


def names() -> set[str]:
    return {family.pattern for family in redis_families.families()}


def test_every_key_of_a_busy_world_has_a_family_and_the_bound_that_it_promises(
    offer: Offers, client: Clients, worker: Workers, post: Post, remote: Remotes, gateway: str, tmp_path: Path
) -> None:
    tiny, digits, cold, far = offer(), offer("digits", task="image-classification"), offer("cold"), remote()
    hands = worker(tiny, digits, pieces=None)
    running = ask(client(tiny), tiny, stream=True)
    await_that(lambda: hands.open_calls)
    left = ask(client(tiny), tiny, stream=True)
    left.close()
    real = start_worker(tmp_path)
    try:
        real.await_registered()
        waits = ask(client(cold), cold, stream=True)
        ask(client(far), far)
        httpx.post(
            f"{gateway}/predictions", headers={"Authorization": f"Bearer {digits.key_text}"}, timeout=20,
            json={"model": digits.name, "input": image_input()},
        )  # fmt: skip
        assert strays() == []
        hands.pieces = lambda _: ["an answer"]
        post(tiny)
        for each in [*hands.open_calls]:
            hands.finish(each, pieces=["done"])
        list(running)
        list(waits)
        _keep_house()
        assert strays() == []
    finally:
        real.kill()
    seen = {key.decode().split(":")[0] for key in redis.client().scan_iter()}
    assert {"lease", "epoch", "inference", "readers", "cache", "jobs", "usage"} <= seen, (
        "the world was not busy"
    )
    assert waiting.WAITING in names()


def _keep_house() -> None:
    """What pages, meters, beats and jobs leave behind."""
    Client().get("/")
    Client().post("/accounts/login/", {"login": "nobody@example.com", "password": "wrong"})
    Client().get("/readyz")
    epochs.bump("key", ids.uuid7())
    queue.enqueue("inference.try_version", ids.uuid7().hex)
    metering.join()
    redis.client().xadd("usage", {"not": "an event"})
    metering.record(metering.take("meter", count=100, block_ms=10), shard=0)
    beating._hold(redis.client(), "token")


def test_a_key_of_no_family_and_one_that_never_expires_are_found() -> None:
    client = redis.client()
    client.set("surprise", 1)
    client.set("cache:forever", 1)
    client.set("cache:brief", 1, ex=60)
    assert sorted(strays()) == ["cache:forever never expires", "surprise is of no family"]
