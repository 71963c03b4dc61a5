"""Figures of the whole site for Prometheus, read from Redis and Postgres at the moment of the scrape.

Every process of every host would answer the same, so nothing is counted in memory. Whoever can reach the site
can read this page: it holds sums alone, and a version is named by its id, which no page shows.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import redis.exceptions
from django.db import DatabaseError
from django.db.models import Sum
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from billing import metering
from billing.credit import keys
from billing.models import UsageRollup
from inference import protocol, roll_call
from inference.protocol import WorkerState
from inference.remote import health
from marketplace.models import Version
from portal.kit import clock
from portal.kit import redis as kit_redis

REPLICA_STATES = ("loading", "ready", "draining")
# Versions that callers wait for; more than that at once are not told apart.
MOST_WANTED = 200
# Remote versions shown, the newest: each is a series of its own.
MOST_REMOTE = 500


def render() -> bytes:
    """The page, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(SiteCollector())
    return generate_latest(registry)


class SiteCollector(Collector):
    """Reads everything anew for each scrape. A source that is away is left out, and `mercato_source_up` says so."""

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "mercato_source_up", "Whether a source of these figures answered.", labels=["source"]
        )
        for source, read in (("redis", _read_redis), ("postgres", _read_postgres)):
            try:
                yield from read()
            except (redis.exceptions.RedisError, DatabaseError):
                up.add_metric([source], 0)
            else:
                up.add_metric([source], 1)
        yield up

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the registry is made."""
        return ()


def _read_redis() -> list[Metric]:
    workers = roll_call.present(kit_redis.client())
    resident = {replica.version for worker in workers for replica in worker.replicas}
    pipeline = kit_redis.client().pipeline(transaction=False)
    pipeline.zcard(keys.HOLDS)
    pipeline.xlen(keys.USAGE_STREAM)
    pipeline.xpending(keys.USAGE_STREAM, metering.GROUP)
    pipeline.zrange(protocol.WANTED, 0, MOST_WANTED - 1)
    holds, length, pending, wanted = pipeline.execute(raise_on_error=False)
    for answer in (holds, length, wanted):
        if isinstance(answer, redis.exceptions.RedisError):
            raise answer
    versions = sorted(resident | {version.decode() for version in wanted})
    # Before the first call there is no group, and so nothing that it has begun.
    begun = pending["pending"] if isinstance(pending, dict) else 0
    return [
        _gauge("mercato_live_holds", "Admitted calls that have not ended.", holds),
        _gauge("mercato_usage_stream_length", "Usage events not yet in Postgres.", length),
        _gauge("mercato_usage_stream_pending", "Those of them that a meter has taken.", begun),
        _gauge("mercato_usage_stream_lag", "Those of them that no meter has taken.", max(0, length - begun)),
        *_describe_workers(workers),
        _read_queues(versions),
    ]


def _describe_workers(workers: list[WorkerState]) -> Iterator[Metric]:
    yield _gauge("mercato_workers", "Workers whose lease holds.", len(workers))
    states: Counter[str] = Counter(replica.state for worker in workers for replica in worker.replicas)
    replicas = GaugeMetricFamily("mercato_replicas", "Versions loaded on workers.", labels=["state"])
    for state in REPLICA_STATES:
        replicas.add_metric([state], states[state])
    yield replicas
    busy = sum(replica.busy for worker in workers for replica in worker.replicas)
    yield _gauge("mercato_running_calls", "Calls inside engines.", busy)
    free = sum(worker.free_bytes for worker in workers)
    yield _gauge("mercato_worker_free_bytes", "Device memory that replicas may still take.", free)


def _read_queues(versions: list[str]) -> Metric:
    pipeline = kit_redis.client().pipeline(transaction=False)
    for version in versions:
        pipeline.llen(protocol.queue_name(version))
    queues = GaugeMetricFamily(
        "mercato_queue_length",
        "Calls that wait in the queue of a resident or wanted version.",
        labels=["version"],
    )
    for version, length in zip(versions, pipeline.execute() if versions else [], strict=True):
        queues.add_metric([str(UUID(version))], length)
    return queues


def _read_remote() -> list[Metric]:
    remote = Version.objects.filter(kind=Version.Kind.REMOTE, state=Version.State.READY).order_by(
        "-created_at"
    )
    versions = [version.hex for version in remote.values_list("pk", flat=True)[:MOST_REMOTE]]
    found = health.read(kit_redis.client(), versions)
    up = GaugeMetricFamily(
        "mercato_remote_up",
        "Whether a remote version's server is called (1) or left alone (0).",
        labels=["version"],
    )
    calls = GaugeMetricFamily(
        "mercato_remote_calls", "Calls under way to a remote version's server.", labels=["version"]
    )
    failures = GaugeMetricFamily(
        "mercato_remote_failures", "Failures in a row of a remote version's server.", labels=["version"]
    )
    for version, each in found.items():
        name = [str(UUID(version))]
        up.add_metric(name, int(each.state == "closed"))
        calls.add_metric(name, each.in_flight)
        failures.add_metric(name, each.failures)
    return [up, calls, failures]


def _read_postgres() -> list[Metric]:
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    sums: dict[str, Any] = UsageRollup.objects.filter(hour__gte=midnight).aggregate(
        answered=Sum("requests"), failed=Sum("failed")
    )
    calls = CounterMetricFamily(
        "mercato_requests_today",
        "Recorded calls since midnight UTC, when it starts anew.",
        labels=["outcome"],
    )
    for outcome in ("answered", "failed"):
        calls.add_metric([outcome], sums[outcome] or 0)
    return [calls, *_read_remote()]


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(name, meaning, value=value)
