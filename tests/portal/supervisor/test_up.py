"""`make up` as a person meets it: one sentence when it cannot start, and nothing left when it ends."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from portal import embedded
from portal.embedded.server import find_free_port, runs
from tests.portal.embedded import debian
from tests.portal.supervisor.conftest import REPOSITORY

PATIENCE_S = 90


def start(home: Path, **environment: str) -> subprocess.Popen[str]:
    own = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    return subprocess.Popen(
        [sys.executable, "-m", "portal.up"],
        cwd=REPOSITORY,
        env=own | {"MERCATO_HOME": str(home), "MERCATO_DEMO": "0"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


class Site:
    """A running `make up`."""

    def __init__(self, home: Path, **environment: str) -> None:
        self.port = find_free_port()
        self.process = start(home, PORT=str(self.port), **environment)
        self.await_health()

    def await_health(self) -> None:
        self.await_answer("/healthz")

    def await_answer(self, path: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.ask(path) != 200:
            assert self.process.poll() is None, self.process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def ask(self, path: str) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None

    def end(self, number: signal.Signals) -> list[psutil.Process]:
        """Signal it; what still runs five seconds after its end."""
        everything = psutil.Process(self.process.pid).children(recursive=True)
        assert len(everything) > 3
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE_S)
        deadline = time.monotonic() + 5
        while (left := [one for one in everything if runs(one)]) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left


@pytest.fixture
def open_site(home: Path) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def start_one(**environment: str) -> Site:
        sites.append(Site(home, **environment))
        return sites[-1]

    yield start_one
    for site in sites:
        if site.process.poll() is None:
            site.end(signal.SIGTERM)


def refusal(home: Path, **environment: str) -> str:
    process = start(home, **environment)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    return said.strip()


def test_a_taken_port_is_named(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        assert refusal(home, PORT=str(port)) == (
            f"Mercato cannot start: port {port} cannot be used (Address already in use); "
            "stop what listens there, or set PORT to another."
        )


def test_a_port_that_is_no_port_is_named(home: Path) -> None:
    said = refusal(home, PORT="eighty")
    assert said == "Mercato cannot start: PORT must be a number from 1 to 65535, not 'eighty'."


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("DATABASE_URL", "hello", "DATABASE_URL must be the URL of a Postgres database"),
        ("DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/db", "the Postgres of DATABASE_URL cannot be used"),
        ("REDIS_URL", "hello", "REDIS_URL must be the URL of a Redis"),
        ("REDIS_URL", "redis://:hush@127.0.0.1:1/0", "the Redis of REDIS_URL cannot be used"),
        ("WEB_PROCESSES", "many", "WEB_PROCESSES must be a whole number from 1 up, not 'many'"),
        ("WORKER_DRAIN_SECONDS", "soon", "WORKER_DRAIN_SECONDS must be a whole number, not 'soon'"),
        (
            "REDIS_MEMORY_BYTES",
            "512",
            "REDIS_MEMORY_BYTES must be a whole number from 67108864 up, not '512'",
        ),
        ("MERCATO_DEMO", "maybe", "MERCATO_DEMO must be 1 or 0, not 'maybe'"),
        ("EMAIL_URL", "mail.example.org", "EMAIL_URL must be like smtp://"),
        ("COMMISSION_BASIS_POINTS", "20000", "COMMISSION_BASIS_POINTS must be from 0 to 10000"),
        ("UPLOAD_LIMIT_BYTES", "50G", "UPLOAD_LIMIT_BYTES must be a whole number"),
        ("REMOTE_PORTS", "https", "REMOTE_PORTS must be ports from 1 to 65535"),
        ("MERCATO_HOME", "/dev/null", "MERCATO_HOME must be a directory that can be written to"),
        ("HOST", "no.such.host.invalid", "HOST must be an address of this machine"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named_before_anything_starts(
    home: Path, name: str, value: str, sentence: str
) -> None:
    said = refusal(home, **{name: value})
    assert said.startswith(f"Mercato cannot start: {sentence}")
    assert said.endswith(".")
    assert "\n" not in said
    assert "hush" not in said
    assert not (home / "embedded.lock").exists()


def test_a_home_in_use_is_named(home: Path) -> None:
    with embedded.running(home):
        assert f"already running in {home} (process {os.getpid()})" in refusal(home, PORT="8000")


@pytest.mark.stack
def test_it_survives_its_own_sigkill_and_stops_without_a_trace(open_site: Callable[..., Site]) -> None:
    assert open_site().end(signal.SIGKILL) == []
    again = open_site()
    assert again.end(signal.SIGTERM) == []
    assert again.process.returncode == 0


@pytest.mark.stack
def test_ctrl_c_leaves_no_trace_and_a_second_start_serves(open_site: Callable[..., Site]) -> None:
    first = open_site()
    assert first.end(signal.SIGINT) == []
    assert first.process.returncode == 0
    began = time.monotonic()
    again = open_site()
    again.await_answer("/readyz")
    # To be read, not asserted: ten seconds on a quiet machine are the goal, and tests seldom run on one.
    print(f"serves {time.monotonic() - began:.1f} s after its second start")
    assert again.end(signal.SIGTERM) == []
    assert again.process.returncode == 0


@pytest.mark.stack
def test_with_two_urls_nothing_embedded_starts(open_site: Callable[..., Site], home: Path) -> None:
    with debian.postgres(home) as database_url, debian.redis(home) as redis_url:
        site = open_site(DATABASE_URL=database_url, REDIS_URL=redis_url)
        names = {child.name() for child in psutil.Process(site.process.pid).children(recursive=True)}
        assert not names & {"postgres", "redis-server"}
        assert not (home / "postgres").exists()
        assert site.end(signal.SIGINT) == []
