"""What an embedded server has in common: a child process that starts, becomes ready and stops."""

import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import psutil

from portal.embedded.errors import ServiceFailed

READY_S = 60.0
STOP_S = 30.0
POLL_S = 0.01

Say = Callable[[str], None]


class Server(ABC):
    """One server of one home. `url` is stable over restarts within the life of this object."""

    name: str
    stop_signal: signal.Signals

    def __init__(self, *, data: Path, log: Path) -> None:
        self.data, self.log = data, log
        self.port = find_free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, with the credentials."""

    @abstractmethod
    def prepare(self, say: Say) -> None:
        """Create the state on first use; repair what a crash left behind."""

    @abstractmethod
    def start(self) -> None:
        """Start the process; do not wait for it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers clients."""

    def wait_until_ready(self) -> None:
        """Return once it answers; raise ServiceFailed when it exits or takes longer than READY_S."""
        deadline = time.monotonic() + READY_S
        while not self.is_ready():
            if not self.is_alive():
                raise ServiceFailed(self.name, log=self.log, reason="exited while starting")
            if time.monotonic() > deadline:
                raise ServiceFailed(self.name, log=self.log, reason=f"was not ready after {READY_S:.0f} s")
            time.sleep(POLL_S)

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop it with everything flushed; kill it where that takes longer than STOP_S."""
        if self.process is None:
            return
        if self.is_alive():
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def find_free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def stop_orphan(process: psutil.Process, *, stop_signal: signal.Signals) -> None:
    """Stop a server whose parent is gone, gently first: two servers on one state would destroy it."""
    for attempt in (stop_signal, signal.SIGKILL):
        try:
            process.send_signal(attempt)
        except psutil.NoSuchProcess:
            return
        deadline = time.monotonic() + STOP_S
        while runs(process) and time.monotonic() < deadline:
            time.sleep(POLL_S)


def runs(process: psutil.Process) -> bool:
    """Whether a process still does anything: in a container without an init, the dead stay as zombies."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
