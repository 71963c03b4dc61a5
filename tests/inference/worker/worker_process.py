"""A real `manage.py worker` as a child of the test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from inference.protocol import WorkerState
from inference.worker.registry import read_workers
from portal.kit import redis

ROOT = Path(__file__).resolve().parents[3]


@dataclass
class RunningWorker:
    """One worker process and the log it writes."""

    process: "subprocess.Popen[bytes]"
    log_path: Path

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def state(self) -> WorkerState | None:
        """What it says of itself in Redis now."""
        found = (state for state in read_workers(redis.client()) if state.pid == self.process.pid)
        return next(found, None)

    def resident(self) -> set[str]:
        """Versions that it serves."""
        state = self.state()
        return {replica.version for replica in state.replicas if replica.state == "ready"} if state else set()

    def await_registered(self) -> None:
        await_that(lambda: self.state() is not None, seconds=120, why=lambda: self.log)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def start_worker(
    folder: Path,
    *,
    memory_bytes: int = 2**30,
    breaking: str = "",
    environment: Mapping[str, str] | None = None,
) -> RunningWorker:
    """Start one; `await_registered` says when it is there. `breaking` is code that it runs before anything else."""
    log_path = folder / f"worker-{time.monotonic_ns()}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*_program(breaking), "worker", "--device", "cpu", "--memory-bytes", str(memory_bytes)],
            cwd=ROOT, env=_environment() | dict(environment or {}), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    return RunningWorker(process, log_path)


def _program(breaking: str) -> list[str]:
    if not breaking:
        return [sys.executable, "manage.py"]
    return [sys.executable, "-c", f"{breaking}\nimport manage\nmanage.main()"]


def await_that(holds, *, seconds: float = 30, why=lambda: "") -> None:  # type: ignore[no-untyped-def]
    """Poll until `holds()`; fail with what `why()` tells."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s\n{why()}"
        time.sleep(0.02)


def _environment() -> dict[str, str]:
    settings = connection.settings_dict
    url = os.environ["DATABASE_URL"]
    test_url = url[: url.rindex("/") + 1] + str(settings["NAME"])
    return os.environ | {"DATABASE_URL": test_url, "OMP_NUM_THREADS": "1", "LOG_LEVEL": "INFO"}
