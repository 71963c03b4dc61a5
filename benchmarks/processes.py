"""Servers under measurement: each a child of its own, on a core of its own, ended with its block."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
STOP_SECONDS = 15


@dataclass(frozen=True)
class Target:
    """A running server: where to POST, with which headers, and its process id."""

    url: str
    headers: Mapping[str, str]
    pid: int


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str],
    *,
    core: int | str,
    environment: Mapping[str, str] | None = None,
    ready: str | None = None,
) -> Iterator[int]:
    """A child with its descendants on one core; its process id. Waits until `ready` answers at all."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(
            ["taskset", "-c", str(core), *command], cwd=ROOT, env=os.environ | dict(environment or {}), stdout=log,
            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            if ready is not None and not _answers(child, ready):
                log.seek(0)
                raise RuntimeError(
                    f"{command[0]} did not start:\n{log.read()[-3000:].decode(errors='replace')}"
                )
            yield child.pid
        finally:
            _end(child)


def processor_seconds(pid: int) -> float:
    """What a process and its descendants have used so far, in user and system mode."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def _answers(child: "subprocess.Popen[bytes]", url: str) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return True
    return False


def _end(child: "subprocess.Popen[bytes]") -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, sign)
            child.wait(STOP_SECONDS)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
