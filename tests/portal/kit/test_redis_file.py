"""What has expired is gone from Redis' append-only file once the schedule has had it rewritten."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from inference.schedule import SCHEDULE
from inference.tasks import rewrite_redis_file
from portal.kit import redis_file
from tests.billing import private_redis
from tests.inference.gateway.conftest import await_that
from tests.portal.embedded import debian

PROMPT, LIVE = "a prompt that nobody may find", "an answer that is still kept"


@dataclass(frozen=True)
class Server:
    client: "redis.Redis"
    directory: Path

    def has_on_disk(self, text: str) -> bool:
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return any(text.encode() in path.read_bytes() for path in files)

    def is_rewriting(self) -> bool:
        said = self.client.info("persistence")
        return bool(said["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"])


@pytest.fixture(params=["embedded", "packaged"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "embedded":
        with private_redis.running(tmp_path) as private:
            yield Server(redis.Redis.from_url(private.server.url), private.server.data)
        return
    with debian.redis(tmp_path) as url:
        yield Server(redis.Redis.from_url(url), tmp_path)


def test_an_expired_prompt_leaves_the_disk_and_nothing_else_does(server: Server) -> None:
    server.client.set("inference:payload:a", PROMPT, px=300)
    server.client.set("inference:answer:b", LIVE, ex=900)
    await_that(lambda: server.has_on_disk(PROMPT))
    time.sleep(0.4)
    assert server.has_on_disk(PROMPT), "Redis forgets by itself, and this tests nothing"
    assert redis_file.rewrite(server.client)
    await_that(lambda: not server.is_rewriting())
    assert not server.has_on_disk(PROMPT)
    assert server.has_on_disk(LIVE)


def test_a_server_without_a_file_or_that_does_not_let_us_is_left_alone(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.client.execute_command("ACL", "SETUSER", "managed", "on", "nopass", "~*", "+@all", "-bgrewriteaof")
    kwargs = server.client.connection_pool.connection_kwargs
    managed = redis.Redis(host=kwargs["host"], port=kwargs["port"], username="managed", password="x")
    assert not redis_file.rewrite(managed)
    assert "stay in Redis' append-only file" in caplog.text
    server.client.config_set("appendonly", "no")
    assert not redis_file.rewrite(server.client)


def test_the_schedule_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = (each for each in SCHEDULE.values() if each["task"] == rewrite_redis_file.name)
    assert entry["schedule"] == redis_file.REWRITE_SECONDS
    asked: list[bool] = []
    monkeypatch.setattr(redis_file, "rewrite", lambda: asked.append(True))
    rewrite_redis_file()
    assert asked == [True]
