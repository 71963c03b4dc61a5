"""The real `manage.py meter`, killed at its worst moments: nothing is lost, nothing doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from billing import invariants
from billing.models import UsageEvent
from portal.kit import redis
from tests.billing.shop import Shop, finish, open_shop
from tests.billing.test_leases import admit

ROOT = Path(__file__).parents[2]


def database_url() -> str:
    """Of the database that this test uses, for other processes."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(url._replace(path=f"/{connection.settings_dict['NAME']}"))


class MeterProcess:
    """One meter."""

    def __init__(self) -> None:
        environment = os.environ | {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "meter", "--batch", "50"], cwd=ROOT, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def stop(self) -> int:
        """Exit status of a polite stop."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=15)
        assert self.process.returncode == 0, log.decode()
        return self.process.returncode


@pytest.fixture
def start(books: None) -> Iterator[Callable[[], MeterProcess]]:
    started: list[MeterProcess] = []

    def act() -> MeterProcess:
        started.append(MeterProcess())
        return started[-1]

    yield act
    for meter in started:
        if meter.process.poll() is None:
            meter.kill()


def until(condition: Callable[[], bool], *, seconds: float = 30) -> float:
    """Seconds until the condition held."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, "it never came"
        time.sleep(0.01)
    return time.monotonic() - begin


def serve(shop: Shop, calls: int) -> None:
    for call in admit(shop, calls):
        finish(call, output_tokens=1)


def events_are(count: int) -> Callable[[], bool]:
    return lambda: UsageEvent.objects.count() == count and not redis.client().xlen("usage")


@contextmanager
def locked(table: str) -> Iterator[None]:
    """Nobody can write the table meanwhile."""
    with psycopg.connect(database_url()) as other:
        other.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        yield


def pending() -> int:
    groups = redis.client().xinfo_groups("usage")
    return int(groups[0]["pending"]) if groups else 0


def test_usage_is_visible_within_a_second_and_sigterm_is_prompt(start: Callable[[], MeterProcess]) -> None:
    shop = open_shop(components={"output_tokens": (0, 3, 1)})
    meter = start()
    serve(shop, 1)
    until(events_are(1))
    for count in (11, 21):
        serve(shop, 10)
        assert until(events_are(count)) < 1
    asked = time.monotonic()
    assert meter.stop() == 0
    assert time.monotonic() - asked < 5


def test_killed_before_the_commit(start: Callable[[], MeterProcess]) -> None:
    shop = open_shop(components={"output_tokens": (0, 3, 1)})
    with locked("billing_ratedline"):
        victim = start()
        serve(shop, 20)
        until(lambda: pending() > 0)
        time.sleep(0.3)
        victim.kill()
        assert not UsageEvent.objects.exists()
    start()
    until(events_are(20))
    assert invariants.check() == []


def connections() -> set[str]:
    return {client["id"] for client in redis.client().client_list()}


def test_killed_after_the_commit(start: Callable[[], MeterProcess]) -> None:
    shop = open_shop(components={"output_tokens": (0, 3, 1)})
    others = connections()
    victim = start()
    # The day's partition is there from now on: making it would wait for the lock, before anything is taken.
    serve(shop, 1)
    until(events_are(1))
    with locked("usage_event"):
        serve(shop, 20)
        until(lambda: pending() > 0)
        # Reads go on, so that only the acknowledgement hangs.
        redis.client().client_pause(30_000, all=False)
    until(lambda: UsageEvent.objects.count() > 1)
    theirs = connections() - others
    victim.kill()
    # Else Redis may still carry out what the dead one had asked for.
    until(lambda: not theirs & connections())
    redis.client().client_unpause()
    assert redis.client().xlen("usage") == 20
    start()
    until(events_are(21))
    assert invariants.check() == []


def test_killed_at_random_while_several_meter(start: Callable[[], MeterProcess]) -> None:
    shop = open_shop(components={"output_tokens": (5, 3, 2), "requests": (0, 7, 1)})
    chance = random.Random(7)
    steady = start()
    total = 0
    for _ in range(4):
        victim = start()
        until_dead = time.monotonic() + 1.5 + chance.random()
        while time.monotonic() < until_dead:
            serve(shop, 5)
            total += 5
        victim.kill()
    until(events_are(total))
    steady.stop()
    assert invariants.check() == []
