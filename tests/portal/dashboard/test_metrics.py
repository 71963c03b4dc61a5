"""What Prometheus reads: true figures of the whole site, and nobody's business."""

import time
import uuid

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from billing import metering, recording
from billing.credit import keys
from inference import protocol
from inference.protocol import ReplicaState, WorkerState
from portal.dashboard import metrics
from portal.kit import redis as kit_redis
from tests.billing.events import make_event
from tests.billing.shop import open_shop

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
VERSION, COLD = uuid.uuid4(), uuid.uuid4()


def scrape(client: Client) -> dict[tuple[str, ...], float]:
    """`(name, label value)` -> value, as Prometheus itself reads the page."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    families = text_string_to_metric_families(answer.content.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def announce_worker(**changes: object) -> None:
    replicas = (
        ReplicaState(version=VERSION.hex, state="ready", memory_bytes=10, slots=4, busy=3),
        ReplicaState(version=uuid.uuid4().hex, state="loading", memory_bytes=10, slots=4, busy=0),
    )
    state = WorkerState(
        id=uuid.uuid4().hex, host="h", pid=1, device="cpu", memory_bytes=100, free_bytes=80,
        started_at=time.time(), stopping=False, replicas=replicas,
    )  # fmt: skip
    client = kit_redis.client()
    client.set(protocol.worker_key(state.id), protocol.pack(state))
    client.sadd(protocol.WORKERS, state.id, uuid.uuid4().hex)  # the second one's lease has lapsed


def test_an_empty_site_counts_nothing(client: Client) -> None:
    found = scrape(client)
    assert found["mercato_source_up", "redis"] == found["mercato_source_up", "postgres"] == 1
    up = {("mercato_source_up", "redis"), ("mercato_source_up", "postgres")}
    assert {name: value for name, value in found.items() if value and name not in up} == {}


def test_workers_replicas_and_queues_are_counted(client: Client) -> None:
    announce_worker()
    known = kit_redis.client()
    known.zadd(protocol.WANTED, {COLD.hex: time.time() * 1000})
    known.rpush(protocol.queue_name(VERSION.hex), "a", "b")
    known.rpush(protocol.queue_name(COLD.hex), "c")
    found = scrape(client)
    assert found["mercato_workers",] == 1
    assert found["mercato_replicas", "ready"] == found["mercato_replicas", "loading"] == 1
    assert found["mercato_replicas", "draining"] == 0
    assert found["mercato_running_calls",] == 3
    assert found["mercato_worker_free_bytes",] == 80
    assert found["mercato_queue_length", str(VERSION)] == 2
    assert found["mercato_queue_length", str(COLD)] == 1


def test_holds_and_usage_under_way_are_counted(client: Client) -> None:
    known = kit_redis.client()
    known.zadd(keys.HOLDS, {"a": 1, "b": 2})
    metering.join()
    for _ in range(5):
        known.xadd(keys.USAGE_STREAM, {"x": "y"})
    known.xreadgroup(metering.GROUP, "meter", {keys.USAGE_STREAM: ">"}, count=2)
    found = scrape(client)
    assert found["mercato_live_holds",] == 2
    assert found["mercato_usage_stream_length",] == 5
    assert (found["mercato_usage_stream_pending",], found["mercato_usage_stream_lag",]) == (2, 3)


def test_calls_of_today_are_counted_by_outcome_and_name_nobody(client: Client) -> None:
    shop = open_shop(slug="wordsmith")
    outcomes = ("succeeded", "cancelled", "failed")
    recording.record([make_event(shop, outcome=outcome) for outcome in outcomes], shard=0)
    found = scrape(client)
    assert found["mercato_requests_today_total", "answered"] == 2
    assert found["mercato_requests_today_total", "failed"] == 1
    said = client.get("/metrics").content.decode()
    for name in (shop.consumer.slug, shop.provider.slug, shop.listing.slug, shop.consumer.pk.hex):
        assert name not in said


def test_redis_away_is_said_and_the_rest_is_told(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(metrics.kit_redis, "client", lambda: Redis(port=1))
        found = scrape(client)
    assert (found["mercato_source_up", "redis"], found["mercato_source_up", "postgres"]) == (0, 1)
    assert ("mercato_requests_today_total", "answered") in found
    assert ("mercato_workers",) not in found
