"""The meter process: its loop, its chores and what it does when Redis or Postgres is away."""

import gc
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis
from django.db import InterfaceError, OperationalError, close_old_connections
from redis.exceptions import ResponseError

from billing import metering, partitions
from billing.credit import budget_leases, leases, reaper
from portal.kit import clock, redis_fitness

_BLOCK_MS = 200
# Far longer than any batch takes, so that only the dead are robbed.
_IDLE_MS = 5_000
_LEFT_BEHIND_MS = 60_000
_DEAD_MS = 3_600_000
_IDLE_LEASE = timedelta(minutes=5)
_SHARDS = 16
_PATIENCE_S = 0.5

_log = logging.getLogger(__name__)


def spare_collector() -> None:
    """Let Python look for cycles after many objects, not a few: a batch is a hundred thousand that have none, and
    looking through them time and again took a quarter of a meter's processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


@dataclass(slots=True)
class Chore:
    """Something to do every so often."""

    every_s: float
    act: Callable[[], object]
    due: float = 0.0

    def act_if_due(self) -> None:
        if time.monotonic() >= self.due:
            self.act()
            self.due = time.monotonic() + self.every_s


class Meter:
    """One consumer of the usage stream. Several may run, on any host."""

    def __init__(self, *, batch: int) -> None:
        self._consumer = f"{socket.gethostname()}-{os.getpid()}"
        self._shard = os.getpid() % _SHARDS
        self._batch = batch
        self._stopping = False
        self._chores = (
            Chore(3600, partitions.ensure_ahead),
            Chore(1, reaper.reap),
            Chore(1, self._claim),
            Chore(60, lambda: metering.sweep(older_ms=_LEFT_BEHIND_MS)),
            Chore(10, lambda: _return_unused(since=clock.now() - _IDLE_LEASE)),
            Chore(60, redis_fitness.report),
            Chore(3600, lambda: metering.forget_dead(idle_ms=_DEAD_MS)),
        )

    def stop(self) -> None:
        """Return from `run` after the batch at hand."""
        self._stopping = True

    def run(self) -> None:
        """Meter until stopped, through restarts of Redis and Postgres."""
        while not self._stopping:
            try:
                metering.join()
                self._work()
            except (
                redis.ConnectionError,
                redis.TimeoutError,
                ResponseError,
                OperationalError,
                InterfaceError,
            ) as error:
                # Nothing is lost: what was not recorded is still on the stream.
                _log.warning("metering pauses: %s", error)
                time.sleep(_PATIENCE_S)
                close_old_connections()
        self._leave()

    def _work(self) -> None:
        while not self._stopping:
            for chore in self._chores:
                chore.act_if_due()
            taken = metering.take(self._consumer, count=self._batch, block_ms=_BLOCK_MS)
            metering.record(taken, shard=self._shard)

    def _claim(self) -> None:
        while claimed := metering.claim(self._consumer, idle_ms=_IDLE_MS, count=self._batch):
            metering.record(claimed, shard=self._shard)

    def _leave(self) -> None:
        try:
            # When the whole site stops, Redis follows; a lease that is returned loses nothing by that.
            _return_unused(since=clock.now())
            metering.leave(self._consumer)
        except (redis.RedisError, OperationalError, InterfaceError) as error:
            _log.warning("the meter leaves without saying so: %s", error)


def _return_unused(*, since: datetime) -> None:
    leases.return_unused(since=since)
    budget_leases.return_unused(since=since)
