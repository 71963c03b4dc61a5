"""Who runs the services of a home: a lock held for life, and a file that says where they listen."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import psutil

from portal.embedded.errors import HomeInUse, HomeOfAnotherUser, HomeUnusable
from portal.embedded.locations import Home
from portal.embedded.server import runs

# psutil derives start times from the boot time, which moves a little as the clock is set.
START_TOLERANCE_S = 2.0


@dataclass(frozen=True)
class Trace:
    """A process told apart from a later one with the same id."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> "Trace":
        return cls(pid=pid, started=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process, if it is still the same one and no zombie."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < START_TOLERANCE_S
            return process if same and runs(process) else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class Runtime:
    """The running services of a home. Processes by name: `PostgreSQL`, `Redis`."""

    owner: Trace
    database_url: str
    redis_url: str
    stopping: bool = False
    processes: dict[str, Trace] = field(default_factory=dict)


def write_runtime(home: Home, runtime: Runtime) -> None:
    """Replace the file at once, readable by us alone: it holds passwords."""
    fresh = home.runtime.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        json.dump(asdict(runtime), file, indent=2)
    fresh.replace(home.runtime)


def read_runtime(home: Home) -> Runtime | None:
    """What the last owner wrote, whether it still lives or not."""
    try:
        facts = json.loads(home.runtime.read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        raise HomeOfAnotherUser(home.runtime) from None
    facts["owner"] = Trace(**facts["owner"])
    facts["processes"] = {name: Trace(**trace) for name, trace in facts["processes"].items()}
    return Runtime(**facts)


def find_live_runtime(home: Home) -> Runtime | None:
    """What the owner wrote, if it is alive."""
    runtime = read_runtime(home)
    return runtime if runtime and runtime.owner.find() else None


@contextlib.contextmanager
def claim(home: Home, *, patience_s: float) -> Iterator[None]:
    """Own the home until the block ends or the process dies; raise HomeInUse where another does.

    Waits up to `patience_s` for an owner that says it is stopping.
    """
    try:
        home.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HomeUnusable(home.root, reason=error.strerror or str(error)) from None
    with _open_lock(home.lock) as file:
        deadline = time.monotonic() + patience_s
        while not _try_lock(file.fileno()):
            runtime = find_live_runtime(home)
            if time.monotonic() > deadline or not (runtime and runtime.stopping):
                raise HomeInUse(home.root, pid=runtime.owner.pid if runtime else None)
            time.sleep(0.1)
        yield


def _open_lock(path: Path) -> IO[str]:
    try:
        return path.open("a")
    except PermissionError:
        raise HomeOfAnotherUser(path) from None
    except OSError as error:
        raise HomeUnusable(path.parent, reason=error.strerror or str(error)) from None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
