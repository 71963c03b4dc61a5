"""The embedded Redis: append-only file, a limit of memory, no eviction, loopback and a password."""

import secrets
import signal
from pathlib import Path

import redis

from portal.embedded.account import Account, choose_account
from portal.embedded.launch import start_server
from portal.embedded.locations import find_redis_program
from portal.embedded.memory import find_memory_bytes
from portal.embedded.server import Say, Server

# Engines, Postgres and the copy that a rewrite of the append-only file makes want memory as well.
MACHINE_SHARE = 4

# Read from standard input, so that the password is in no file and no process list.
SETTINGS = """\
bind 127.0.0.1
port {port}
requirepass {password}
protected-mode yes
daemonize no
dir .
save ""
appendonly yes
appendfsync everysec
maxmemory {memory_bytes}
maxmemory-policy noeviction
"""


class RedisServer(Server):
    """Redis on `data`, which takes `memory_bytes`, or a quarter of the machine's. Acknowledged writes survive a killed process; a power cut costs at most a second."""

    name = "Redis"
    stop_signal = signal.SIGTERM  # flushes the append-only file

    def __init__(self, *, data: Path, log: Path, memory_bytes: int = 0) -> None:
        super().__init__(data=data, log=log)
        self.memory_bytes = memory_bytes or find_memory_bytes() // MACHINE_SHARE
        self.password = secrets.token_urlsafe(32)
        self.account: Account | None = None

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self, say: Say) -> None:
        self.account = choose_account(self.data, programs=[find_redis_program("redis-server")])
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            if self.account:
                self.account.own(self.data)

    def start(self) -> None:
        self.process = start_server(
            [str(find_redis_program("redis-server")), "-"],
            death_signal=self.stop_signal,
            account=self.account,
            log=self.log,
            directory=self.data,
            given=SETTINGS.format(port=self.port, password=self.password, memory_bytes=self.memory_bytes),
        )

    def is_ready(self) -> bool:
        """Whether it answers PING: it does only after the append-only file has been read."""
        client = redis.Redis.from_url(self.url, socket_timeout=1, retry=None)
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
        finally:
            client.close()
