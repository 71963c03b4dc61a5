"""Pages come up and limits hold although Redis is full, frozen or away."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.test import Client, override_settings

from portal.accounts.models import User
from portal.kit import queue, redis
from portal.kit.cache import SurvivingCache
from tests.full_redis import full

PASSWORD = "a long enough phrase 42"


@contextmanager
def refusing() -> Iterator[None]:
    """Nobody listens where Redis should be."""
    with elsewhere("redis://127.0.0.1:1/0"):
        yield


@contextmanager
def frozen() -> Iterator[None]:
    """Somebody listens there who never says a word."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        elsewhere(f"redis://127.0.0.1:{server.getsockname()[1]}/0"),
    ):
        yield


@contextmanager
def elsewhere(url: str) -> Iterator[None]:
    here: Any = caches["default"]
    good, options = here._servers, here._options
    here._servers, here._options = [url], {"socket_timeout": 0.2}
    here.__dict__.pop("_cache", None)
    try:
        yield
    finally:
        here._servers, here._options = good, options
        here.__dict__.pop("_cache", None)
        SurvivingCache.away_until.clear()


Trouble = Callable[[], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _empty(clean_redis: None) -> Iterator[None]:
    yield
    cache.clear()


@pytest.mark.parametrize("trouble", [full, refusing, frozen])
def test_what_is_set_is_found_counted_locked_and_deleted(trouble: Trouble) -> None:
    cache.set("before", "old")
    with trouble():
        for value in ("first", "second"):
            cache.set("before", value)
            assert cache.get("before") == value
        assert cache.get("never", 7) == 7
        assert cache.add("lock", True)
        assert not cache.add("lock", True)
        assert cache.delete("lock")
        assert cache.add("lock", True)
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
        assert cache.incr("a") == 2
        assert cache.has_key("a")
        assert cache.touch("a", 60)
        cache.delete_many(["a", "b"])
        assert cache.get_many(["a", "b"]) == {}
    cache.set("before", "new")
    assert cache.get("before") == "new"
    assert redis.client().ping()


def test_a_server_that_answers_nothing_is_asked_once_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    get = SurvivingCache.__bases__[0].get  # type: ignore[attr-defined]

    def counted(self: Any, key: str, *rest: Any) -> Any:
        asked.append(key)
        return get(self, key, *rest)

    monkeypatch.setattr(SurvivingCache.__bases__[0], "get", counted)
    with refusing():
        for _ in range(5):
            assert cache.get("x") is None
        assert asked == ["x"]
    assert cache.get("x") is None
    assert asked == ["x", "x"]


@pytest.mark.parametrize("trouble", [full, refusing])
def test_visitors_find_the_home_page_and_sign_up_and_in(db: None, trouble: Trouble) -> None:
    with trouble():
        assert Client().get("/").status_code == 200
        newcomer = Client()
        form = {"email": "jo@example.com", "password1": PASSWORD}
        assert newcomer.post("/accounts/signup/", form).status_code == 302
        newcomer.post("/accounts/login/", {"login": "jo@example.com", "password": PASSWORD})
        assert "_auth_user_id" in newcomer.session
    assert User.objects.filter(email="jo@example.com").exists()


@pytest.mark.parametrize("trouble", [full, refusing])
def test_limits_of_signing_in_hold_without_redis(db: None, trouble: Trouble) -> None:
    form = {"login": "nobody@example.com", "password": "wrong"}
    with override_settings(ACCOUNT_RATE_LIMITS={"login": "3/m/ip", "login_failed": "3/m/ip"}), trouble():
        statuses = [Client().post("/accounts/login/", form).status_code for _ in range(6)]
    assert statuses[0] == 200
    assert statuses[-1] == 429, statuses


@pytest.mark.django_db(transaction=True)
def test_work_that_a_full_broker_does_not_take_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    with full():
        queue.enqueue("inference.try_version", "none")
    assert "waits for the schedule" in caplog.text
    queue.enqueue("inference.try_version", "none")
    assert redis.client().llen("jobs") == 1


def test_the_sites_cache_is_the_one_that_survives() -> None:
    assert isinstance(caches["default"], SurvivingCache)
