"""Running the embedded services for the life of a block, and keeping them running.

    with hosting.running(home) as services:
        os.environ["DATABASE_URL"] = services.database_url

Every public name is offered by the package itself: `from portal import embedded`.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from portal.embedded.errors import HomeInUse, ServiceFailed
from portal.embedded.launch import rotate_log
from portal.embedded.locations import Home
from portal.embedded.postgres_server import PostgresServer
from portal.embedded.redis_server import RedisServer
from portal.embedded.runtime import Runtime, Trace, claim, find_live_runtime, read_runtime, write_runtime
from portal.embedded.server import Say, Server, stop_orphan
from portal.kit import environment

STOPPING_PATIENCE_S = 60.0
STARTING_PATIENCE_S = 30.0
WATCH_S = 0.1
ROTATE_S = 10.0
REVIVAL_PAUSE_S = 2.0


@dataclass(frozen=True)
class Services:
    """Where the database and Redis are, embedded or not."""

    database_url: str
    redis_url: str


def keep_quiet(_: str) -> None:
    """The default listener for progress."""


@contextlib.contextmanager
def running(
    home: Path,
    *,
    database_url: str | None = None,
    redis_url: str | None = None,
    durable: bool = True,
    say: Say = keep_quiet,
) -> Iterator[Services]:
    """Start what no URL is given for, own the home, and stop it all at the end of the block.

    A server that dies in between is started again on the same port. `durable=False` is for state that may be
    lost with the machine. Raises an EmbeddedServiceError: HomeInUse, HomeOfAnotherUser, ServiceFailed, ...
    """
    places = Home(home.resolve())
    with claim(places, patience_s=STOPPING_PATIENCE_S):
        servers = _choose_servers(places, database_url=database_url, redis_url=redis_url, durable=durable)
        crew = Crew(places, servers, say=say)
        try:
            crew.start()
            services = Services(
                database_url=database_url or servers["PostgreSQL"].url,
                redis_url=redis_url or servers["Redis"].url,
            )
            crew.announce(services)
            with crew.watching(services):
                yield services
        finally:
            crew.stop()


def attach(home: Path) -> Services | None:
    """The services that another process runs in this home; None where none does."""
    runtime = find_live_runtime(Home(home.resolve()))
    if runtime is None or runtime.stopping or not runtime.database_url:
        return None
    return Services(database_url=runtime.database_url, redis_url=runtime.redis_url)


@contextlib.contextmanager
def joining(home: Path, *, say: Say = keep_quiet) -> Iterator[Services]:
    """The services of this home: those that run, or our own for the length of the block.

    A URL in the environment wins, each by itself. For `manage.py`.
    """
    database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    if database_url and redis_url:
        yield Services(database_url=database_url, redis_url=redis_url)
        return
    with contextlib.ExitStack() as stack:
        services = attach(home)
        if services is None:
            own = running(home, database_url=database_url, redis_url=redis_url, say=say)
            try:
                services = stack.enter_context(own)
            except HomeInUse:
                services = _await_start(home)
                if services is None:
                    raise
        yield Services(
            database_url=database_url or services.database_url, redis_url=redis_url or services.redis_url
        )


def mark_stopping(home: Path) -> None:
    """Tell a start that comes now to wait for us rather than to refuse."""
    places = Home(home.resolve())
    runtime = find_live_runtime(places)
    if runtime and runtime.owner.pid == os.getpid():
        write_runtime(places, replace(runtime, stopping=True))


def _await_start(home: Path) -> Services | None:
    """Another process has just begun to start the same services: wait for them."""
    deadline = time.monotonic() + STARTING_PATIENCE_S
    while (services := attach(home)) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    return services


def _choose_servers(
    places: Home, *, database_url: str | None, redis_url: str | None, durable: bool
) -> dict[str, Server]:
    servers: list[Server] = []
    if not database_url:
        log = places.logs / "postgres.log"
        servers.append(PostgresServer(data=places.postgres_data, log=log, durable=durable))
    if not redis_url:
        log, memory_bytes = places.logs / "redis.log", environment.redis_memory_bytes()
        servers.append(RedisServer(data=places.redis_data, log=log, memory_bytes=memory_bytes))
    return {server.name: server for server in servers}


class Crew:
    """The servers of one home, started together, watched, stopped together."""

    def __init__(self, places: Home, servers: dict[str, Server], *, say: Say) -> None:
        self.places, self.servers, self.say = places, servers, say
        self._ending = threading.Event()

    def start(self) -> None:
        """Start all at once, then wait for all."""
        self._stop_orphans()
        for server in self.servers.values():
            server.prepare(self.say)
            server.start()
            self.announce(None)
        for server in self.servers.values():
            server.wait_until_ready()

    def announce(self, services: Services | None) -> None:
        """Write down who runs; with the URLs once they answer."""
        processes = {
            name: Trace.of(server.process.pid)
            for name, server in self.servers.items()
            if server.process and server.is_alive()
        }
        runtime = Runtime(
            owner=Trace.of(os.getpid()),
            database_url=services.database_url if services else "",
            redis_url=services.redis_url if services else "",
            processes=processes,
        )
        write_runtime(self.places, runtime)

    @contextlib.contextmanager
    def watching(self, services: Services) -> Iterator[None]:
        """Revive what dies during the block."""
        watch = threading.Thread(target=self._watch, args=[services], name="embedded-watch", daemon=True)
        watch.start()
        try:
            yield
        finally:
            self._ending.set()
            watch.join()

    def stop(self) -> None:
        """Stop all, in the reverse of their order, and withdraw the announcement."""
        for server in reversed(self.servers.values()):
            server.stop()
        self.places.runtime.unlink(missing_ok=True)

    def _watch(self, services: Services) -> None:
        rotate_at = 0.0
        while not self._ending.wait(WATCH_S):
            if time.monotonic() > rotate_at:
                rotate_at = time.monotonic() + ROTATE_S
                for server in self.servers.values():
                    rotate_log(server.log)
            dead = [server for server in self.servers.values() if not server.is_alive()]
            if dead:
                self._revive(dead, services)

    def _revive(self, dead: list[Server], services: Services) -> None:
        for server in dead:
            self.say(f"{server.name} died; starting it again")
            server.start()
            self.announce(services)
            try:
                server.wait_until_ready()
            except ServiceFailed as error:
                # It will be found dead again, and tried again; not at once, for it would only fill its log.
                self.say(str(error))
                self._ending.wait(REVIVAL_PAUSE_S)

    def _stop_orphans(self) -> None:
        """Servers of an owner that was killed: the kernel told them to stop; see that they did."""
        last = read_runtime(self.places)
        for name, trace in last.processes.items() if last else ():
            server = self.servers.get(name)
            if process := trace.find():
                stop_orphan(process, stop_signal=server.stop_signal if server else PostgresServer.stop_signal)
