"""The status page says to anyone how the site does, and lives when Postgres or Redis do not."""

import re
import time

import pytest
import redis.exceptions
from django.db import OperationalError
from django.test import Client

from billing.credit import keys
from inference import protocol
from inference.protocol import ReplicaState, WorkerState
from portal.dashboard import status
from portal.kit import redis as kit_redis
from tests.conftest import Cast
from tests.portal.dashboard.offers import offer

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
CHINESE = {"accept-language": "zh-CN,zh;q=0.9"}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No report of an earlier test."""
    monkeypatch.setattr(status, "latest", status.Latest(lambda: status.look()))


def start_worker(*versions: str) -> None:
    held = tuple(
        ReplicaState(version=version, state="ready", memory_bytes=1, slots=1, busy=0) for version in versions
    )
    worker = WorkerState(
        id="w", host="h", pid=1, device="cpu", memory_bytes=2, free_bytes=1, started_at=time.time(), stopping=False,
        replicas=held,
    )  # fmt: skip
    kit_redis.client().set(protocol.worker_key("w"), protocol.pack(worker))
    kit_redis.client().sadd(protocol.WORKERS, "w")


def read(client: Client, **headers: str) -> str:
    answer = client.get("/status/", headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_footer_leads_to_a_page_that_says_all_is_well_where_it_is(cast: Cast, client: Client) -> None:
    listing = offer(cast, "talker", kind="paid", cents=5)
    assert listing.current_version_id
    start_worker(listing.current_version_id.hex)
    assert 'href="/status/"' in client.get("/").content.decode()
    answer = client.get("/status/")
    page = answer.content.decode()
    nonces = set(re.findall(r'<script nonce="([^"]*)"', page))
    assert len(nonces) == 1
    assert f"'nonce-{nonces.pop()}'" in answer["Content-Security-Policy"]
    assert "Everything works" in page
    assert "1 worker runs models." in page
    assert "1 model is loaded and answers at once." in page
    status.latest = status.Latest(status.look)
    assert "一切正常" in read(client, **CHINESE)


def test_without_a_worker_it_says_what_cannot_be_called(client: Client) -> None:
    page = read(client)
    assert "Something is out of order" in page
    assert "No worker runs: only models on their providers" in page


def test_usage_that_is_recorded_late_is_no_secret(client: Client) -> None:
    start_worker()
    ended_ms = int((time.time() - 60) * 1000)
    kit_redis.client().xadd(keys.USAGE_STREAM, {"i": "x"}, id=f"{ended_ms}-0")
    page = read(client)
    assert "Some things do not go as they should" in page
    assert "behind by more than 10 seconds" in page


def test_it_is_there_while_redis_is_not(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def __getattr__(self, name: str) -> object:
            raise redis.exceptions.ConnectionError("away")

    with monkeypatch.context() as away:
        away.setattr(kit_redis, "client", Away)
        page = read(client)
    assert "no call is taken at the moment" in page
    assert "Accounts, subscriptions and the catalogue are there." in page


def test_it_is_there_while_postgres_is_not(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OperationalError("away")

    start_worker()
    with monkeypatch.context() as away:
        away.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", lambda self: refuse())
        page = read(client)
    assert "The database does not answer" in page
    assert "Not known while the database does not answer." in page
    assert "Calls are taken and passed on." in page


def test_many_readers_cost_one_look(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(status, "latest", status.Latest(lambda: looks.append(1) or status.look()))
    for _ in range(5):
        read(client)
    assert len(looks) == 1
