"""Other processes that own the services of a home."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from portal.embedded.account import Account
from portal.embedded.launch import bind_to_us
from portal.embedded.server import runs

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("own_home.py")


@dataclass
class Owner:
    """Another process that runs the services of a home."""

    process: subprocess.Popen[str]
    database_url: str
    redis_url: str

    def servers(self) -> list[psutil.Process]:
        """What runs below it."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> list[psutil.Process]:
        """SIGKILL it; the servers that it leaves behind."""
        servers = self.servers()
        self.process.kill()
        self.process.wait()
        return servers


def launch_owner(home: Path, *, account: Account | None = None) -> subprocess.Popen[str]:
    """A process that owns `home`; its first line of output says that the services answer."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    command = [sys.executable, str(SCRIPT), str(home)]
    return subprocess.Popen(
        bind_to_us(command, death_signal=signal.SIGKILL, account=account),
        env=environment | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def await_end(servers: list[psutil.Process]) -> list[psutil.Process]:
    """Wait until they have stopped; those that have not after ten seconds."""
    deadline = time.monotonic() + 10
    while (left := [server for server in servers if runs(server)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
