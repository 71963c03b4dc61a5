"""PostgreSQL and Redis as the operating system packages them: servers that are not ours.

with debian.postgres(directory) as database_url, debian.redis(directory) as redis_url: ...
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.embedded.account import Account
from portal.embedded.launch import bind_to_us
from portal.embedded.server import find_free_port


def find_postgres() -> Path | None:
    """The directory of the newest packaged PostgreSQL programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return found[-1] if found else None


@contextlib.contextmanager
def postgres(directory: Path) -> Iterator[str]:
    """A packaged PostgreSQL on a free port, with its data in a new folder of `directory`; gives its URL."""
    programs = find_postgres()
    if programs is None:
        pytest.skip("no packaged PostgreSQL here (Debian: apt-get install postgresql)")
    account = find_account()
    data, port = directory / "debian-postgres", find_free_port()
    data.mkdir()
    if account:
        account.own(data)
    initdb = [str(programs / "initdb"), "-D", str(data), "--username=postgres", "--auth=trust", "--no-sync"]
    subprocess.run(
        bind_to_us(initdb, death_signal=signal.SIGKILL, account=account), check=True, capture_output=True
    )
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", "", "-c", "fsync=off"]
    with server(command, port=port, account=account):
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def redis(directory: Path) -> Iterator[str]:
    """A packaged Redis on a free port; gives its URL."""
    program = shutil.which("redis-server", path="/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("no packaged Redis here (Debian: apt-get install redis-server)")
    port = find_free_port()
    options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", str(directory)]
    with server([program, "--port", str(port), *options], port=port, account=None):
        yield f"redis://127.0.0.1:{port}/0"


def find_account() -> Account | None:
    """Whom PostgreSQL runs as: `postgres` for root, else ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("postgres")
    return Account(name="postgres", uid=entry.pw_uid, gid=entry.pw_gid)


@contextlib.contextmanager
def server(command: list[str], *, port: int, account: Account | None) -> Iterator[None]:
    """A server for the length of the block, once its port answers."""
    process = subprocess.Popen(
        bind_to_us(command, death_signal=signal.SIGINT, account=account),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        await_port(port, process)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"{process.args} did not open port {port}")
