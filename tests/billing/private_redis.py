"""A Redis of the test's own, to be killed, restarted and set back."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.test import override_settings

from portal.embedded.redis_server import RedisServer
from portal.kit import redis


class PrivateRedis:
    """A real server with an append-only file under `home`."""

    def __init__(self, home: Path) -> None:
        self.server = RedisServer(data=home / "redis", log=home / "redis.log")
        self.server.prepare(lambda text: None)
        self.start()

    def start(self) -> None:
        self.server.start()
        self.server.wait_until_ready()

    def kill(self) -> None:
        assert self.server.process is not None
        self.server.process.kill()
        self.server.process.wait()

    def restart(self) -> None:
        """As after SIGKILL and a supervisor's restart."""
        self.kill()
        self.start()

    def save(self, to: Path) -> None:
        """Keep the files of a clean stop, and go on."""
        self.server.stop()
        shutil.copytree(self.server.data, to)
        self.start()

    def restore(self, source: Path) -> None:
        """Come back from an older copy of the files."""
        self.kill()
        shutil.rmtree(self.server.data)
        shutil.copytree(source, self.server.data)
        if self.server.account:
            self.server.account.own(self.server.data)
        self.start()


@contextmanager
def running(home: Path) -> Iterator[PrivateRedis]:
    """All of this process talks to a private server meanwhile."""
    home.chmod(0o755)
    private = PrivateRedis(home)
    with override_settings(REDIS_URL=private.server.url):
        redis.client.cache_clear()
        try:
            yield private
        finally:
            redis.client().close()
            private.kill()
    redis.client.cache_clear()
