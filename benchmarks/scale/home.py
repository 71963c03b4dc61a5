"""A made world with services of its own, kept between runs: making a large one takes many minutes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import ROOT
from benchmarks.scale.size import Size
from portal import embedded

# Left free for everybody else.
SPARE_BYTES = 10 * 2**30


@dataclass(frozen=True, slots=True)
class World:
    """The environment for processes that serve it, and who calls: cookies of sign-ins and a key's text."""

    size: Size
    environment: Mapping[str, str]
    consumer_cookie: str
    provider_cookie: str
    key: str


@contextmanager
def opened(size: Size, *, folder: Path | None = None) -> Iterator[World]:
    """The world of this size, made if it is not there. Raises `RuntimeError` where the disk has no room for it."""
    home = (folder or Path(os.environ.get("MERCATO_HOME") or ROOT / "var") / "bench") / f"scale-{size.name}"
    finished = home / "finished"
    if not finished.exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        require_room(size, home)
    if not finished.exists():
        # What a power cut spoils is made again.
        with _serving(home, durable=False) as environment:
            _run("make", size, environment)
        finished.touch()
    with _serving(home, durable=True) as environment:
        yield World(size=size, environment=environment, **json.loads(_run("enter", size, environment)))


@contextmanager
def _serving(home: Path, *, durable: bool) -> Iterator[Mapping[str, str]]:
    state = home / "state"
    with embedded.running(state, database_url=None, redis_url=None, durable=durable) as services:
        yield {
            "DATABASE_URL": services.database_url, "REDIS_URL": services.redis_url, "MERCATO_HOME": str(state),
            "DJANGO_SETTINGS_MODULE": "portal.settings", "LOG_LEVEL": "WARNING",
        }  # fmt: skip


def require_room(size: Size, folder: Path) -> None:
    """Raises `RuntimeError` that says how much is missing."""
    free = shutil.disk_usage(folder).free
    if free < size.disk_bytes + SPARE_BYTES:
        raise RuntimeError(
            f"A world of {size.listings:,} listings and {size.events:,} calls takes up to {size.disk_bytes / 2**30:.0f} GiB "
            f"and must leave {SPARE_BYTES / 2**30:.0f} GiB; {folder} has {free / 2**30:.0f} GiB free. "
            "Free some, or set MERCATO_HOME to a larger disk."
        )


def _run(what: str, size: Size, environment: Mapping[str, str]) -> str:
    command = [
        sys.executable,
        "-m",
        "benchmarks.scale",
        what,
        str(size.listings),
        str(size.events),
        str(size.days),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | dict(environment), stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"the world could not be {'made' if what == 'make' else 'entered'}")
    return done.stdout
