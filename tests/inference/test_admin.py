"""Operators see what workers hold right now, by name."""

import time
from uuid import UUID

import pytest
from django.urls import reverse

from inference import protocol
from inference.models import Worker
from inference.protocol import ReplicaState, WorkerState
from portal.kit import ids, redis
from tests.billing.shop import open_shop
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


def start_worker(*versions: UUID) -> Worker:
    """A worker of the record whose lease says that it holds the versions."""
    worker = Worker.objects.create(id=ids.uuid7(), host="h", pid=1, device="cpu", memory_bytes=2**30)
    replicas = tuple(
        ReplicaState(version=version.hex, state="ready", memory_bytes=1, slots=4, busy=3)
        for version in versions
    )
    state = WorkerState(
        id=worker.pk.hex, host="h", pid=1, device="cpu", memory_bytes=2**30, free_bytes=2**29,
        started_at=time.time(), stopping=False, replicas=replicas,
    )  # fmt: skip
    redis.client().set(protocol.worker_key(worker.pk.hex), protocol.pack(state))
    redis.client().sadd(protocol.WORKERS, worker.pk.hex)
    return worker


def count_commands() -> int:
    known: dict[str, dict[str, int]] = redis.client().info("commandstats")
    return sum(known.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("get", "mget", "smembers"))


def test_resident_versions_are_named_on_the_list_and_on_the_page_of_one(cast: Cast) -> None:
    shop = open_shop(slug="wordsmith")
    worker = start_worker(shop.version.pk)
    client = cast.browser(cast.operator)
    said = f"{shop.provider.slug}/wordsmith v1: ready (3/4)"
    assert said in client.get(reverse("admin:inference_worker_changelist")).content.decode()
    assert said in client.get(reverse("admin:inference_worker_change", args=[worker.pk])).content.decode()


def test_a_page_of_many_workers_looks_at_redis_once(cast: Cast) -> None:
    client, address = cast.browser(cast.operator), reverse("admin:inference_worker_changelist")
    shop = open_shop()
    for _ in range(5):
        start_worker(shop.version.pk)
    before = count_commands()
    assert client.get(address).content.decode().count("v1: ready") == 5
    assert count_commands() - before == 2


def test_a_worker_without_a_lease_is_silent(cast: Cast) -> None:
    Worker.objects.create(id=ids.uuid7(), host="h", pid=1, device="cpu", memory_bytes=1)
    page = cast.browser(cast.operator).get(reverse("admin:inference_worker_changelist"))
    assert "silent" in page.content.decode()
