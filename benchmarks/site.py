"""Mercato itself under measurement: services of its own, a filled shop, and its web process."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.processes import ROOT, START_SECONDS, Target, free_port, running
from portal import embedded


@dataclass(frozen=True)
class Shop:
    """A published model, who may call it, and the environment that its processes need. `remote` is the name of a
    listing that is relayed to a server of its own, empty without one.
    """

    model: str
    version: str
    key: str
    remote: str
    environment: Mapping[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def shop(directory: Path | None = None, *, upstream: str = "") -> Iterator[Shop]:
    """A shop in an empty home that sells the model in `directory`, or else a tiny one, and the server at `upstream`.

    Postgres and Redis run on the cores that the caller is on.
    """
    with tempfile.TemporaryDirectory(prefix="mercato-bench-") as folder:
        home = Path(folder) / "home"
        with embedded.running(home, database_url=None, redis_url=None, durable=True) as services:
            environment = {
                "DATABASE_URL": services.database_url, "REDIS_URL": services.redis_url, "MERCATO_HOME": str(home),
                "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "WARNING", "REMOTE_ALLOW": "127.0.0.1",
            }  # fmt: skip
            command = [
                sys.executable,
                "-m",
                "benchmarks.shop",
                str(directory or Path(folder) / "tiny"),
                *([f"{upstream}/v1"] if upstream else []),
            ]
            filled = subprocess.run(
                command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
            )
            if filled.returncode:
                raise RuntimeError(f"the shop could not be filled:\n{filled.stderr[-3000:]}")
            yield Shop(**json.loads(filled.stdout.splitlines()[-1]), environment=environment)


@contextmanager
def web(shop: Shop, *, core: int | str, processes: int = 1, with_worker: bool = True) -> Iterator[Target]:
    """Web processes on one core (or several, as "0,1"), once a worker is there; the target's URL is the site's."""
    port = free_port()
    command = [sys.executable, "-m", "portal.server"]
    own = {"PORT": str(port), "WEB_PROCESSES": str(processes), "LOG_LEVEL": "WARNING"}
    url = f"http://127.0.0.1:{port}"
    with running(command, core=core, environment=shop.environment | own, ready=f"{url}/readyz") as pid:
        if with_worker:
            _await_worker(url)
        yield Target(url, shop.headers, pid)


def _await_worker(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while (answer := httpx.get(f"{url}/readyz", timeout=5)).status_code != 200:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the site did not become ready: {answer.text}")
        time.sleep(0.2)


@contextmanager
def worker(shop: Shop, *, core: int) -> Iterator[None]:
    """A worker on one core with one thread for its engines. It loads the model when somebody calls it."""
    command = [sys.executable, "manage.py", "worker", "--device=cpu", f"--memory-bytes={4 * 2**30}"]
    with running(command, core=core, environment={**shop.environment, "OMP_NUM_THREADS": "1"}):
        yield


@contextmanager
def meter(shop: Shop, *, core: int) -> Iterator[None]:
    """The process that copies usage into Postgres."""
    with running([sys.executable, "manage.py", "meter"], core=core, environment=shop.environment):
        yield
