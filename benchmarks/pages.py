"""Pages and lists with a million listings and fifty million calls there, for those who have the most of them.

Through a web process of its own over HTTP, signed in as the consumer of a tenth of all calls and as the provider of
the most called listings. One address after the other is asked for a hundred times, so that the cards of a search
are drawn once and kept; a row is the slowest address of its kind.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from benchmarks.processes import ROOT, free_port, running
from benchmarks.results import at_most, row
from benchmarks.scale.home import World, opened
from benchmarks.scale.size import FULL, QUICK

COMMAND = "make bench ONLY=pages"
DEEP = 40
USAGE = [
    f"/console/usage/?range={span}&by={by}"
    for span in ("day", "week", "month", "quarter")
    for by in ("model", "key")
]
EARNINGS = [f"/studio/earnings/?range={span}" for span in ("day", "week", "month", "quarter")]
LOG = ["/console/requests/", "/console/requests/?outcome=failed", "/api/requests/?limit=50"]
WORDS = ["chat", "rare1f3", "model", "legl sumary", "quiet birch", "quiet bir", "ember chat contracts", "gla"]
SORTS = ["newest", "name", "smallest", "price", "popular", "throughput", "latency"]
SEARCH = [
    "/", *(f"/?q={words.replace(' ', '+')}" for words in WORDS), *(f"/?sort={sort}" for sort in SORTS),
    *(f"/?q=chat&sort={sort}" for sort in SORTS), "/?task=text-generation&sort=price", "/?price=0.15&sort=price",
    "/?largest=1000000000&sort=throughput", "/?tag=json&language=zh", "/?plan_kind=free&sort=popular",
    "/?licence=mit&q=legal",
]  # fmt: skip
LISTINGS = [
    "/api/listings/", "/api/listings/?q=chat", *(f"/api/listings/?sort={sort}" for sort in SORTS),
    "/api/listings/?q=vesper&sort=throughput",
]  # fmt: skip
MODELS = ["/v1/models"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Addresses that share a goal, and who asks for them."""

    name: str
    goal_ms: float
    addresses: Sequence[str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds of one address: its first answer, and the later ones."""

    address: str
    first: float
    p50: float
    p95: float


def run(quick: bool) -> list[dict[str, Any]]:
    """Raises `RuntimeError` for an answer that is not 200."""
    with opened(QUICK if quick else FULL) as world, serving(world) as url:
        return measure(url, world, times=20 if quick else 100)


@contextmanager
def serving(world: World) -> Iterator[str]:
    """A web process of the world; where it is."""
    environment = os.environ | dict(world.environment)
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "--verbosity=0"]
    subprocess.run(collect, cwd=ROOT, env=environment, check=True)
    port = free_port()
    command = [sys.executable, "-m", "portal.server"]
    url = f"http://127.0.0.1:{port}"
    own = {"PORT": str(port), "LOG_LEVEL": "WARNING"}
    with running(command, core=0, environment={**world.environment, **own}, ready=f"{url}/healthz"):
        yield url


def measure(url: str, world: World, *, times: int) -> list[dict[str, Any]]:
    """A row for each kind, of its slowest address, after a table of them all."""
    rows = []
    with httpx.Client(base_url=url, timeout=120) as client:
        for kind in _kinds(client, world):
            timings = [_time(client, address, kind.headers, times=times) for address in kind.addresses]
            for each in timings:
                print(
                    f"{each.p95:9.1f} ms p95 {each.p50:9.1f} p50 {each.first:9.1f} first  {each.address}",
                    flush=True,
                )
            stem = f"{kind.name}_" if "." in kind.name else f"{kind.name}."
            slowest = max(timing.p95 for timing in timings)
            middle = sorted(timing.p50 for timing in timings)[len(timings) // 2]
            rows.append(
                row(
                    f"{stem}p95_ms",
                    slowest,
                    "ms",
                    command=COMMAND,
                    better="lower",
                    goal=at_most(kind.goal_ms),
                )
            )
            rows.append(row(f"{stem}p50_ms", middle, "ms", command=COMMAND, better="lower"))
    return rows


def _kinds(client: httpx.Client, world: World) -> list[Kind]:
    consumer, provider = {"cookie": world.consumer_cookie}, {"cookie": world.provider_cookie}
    key = {"authorization": f"Bearer {world.key}"}
    return [
        Kind("page.usage", 100, USAGE, consumer),
        Kind("page.log", 100, [*LOG, _deep(client, consumer)], consumer),
        Kind("page.earnings", 100, EARNINGS, provider),
        Kind("search", 50, SEARCH, {}),
        Kind("models_api", 50, MODELS, key),
        Kind("listings_api", 50, LISTINGS, {}),
    ]


def _deep(client: httpx.Client, headers: Mapping[str, str]) -> str:
    """Where the log is after many pages."""
    address = "/console/requests/"
    for _ in range(DEEP):
        found = re.search(r'href="(\?[^"]*after=[^"]+)"', _get(client, address, headers).text)
        if found is None:
            break
        address = "/console/requests/" + found[1].replace("&amp;", "&")
    return address


def _time(client: httpx.Client, address: str, headers: Mapping[str, str], *, times: int) -> Timing:
    took = []
    for _ in range(times + 1):
        started = time.perf_counter()
        _get(client, address, headers)
        took.append((time.perf_counter() - started) * 1000)
    first, *warm = took
    warm.sort()
    return Timing(address, first, warm[len(warm) // 2], warm[int(len(warm) * 0.95)])


def _get(client: httpx.Client, address: str, headers: Mapping[str, str]) -> httpx.Response:
    answer = client.get(address, headers=dict(headers))
    if answer.status_code != 200:
        raise RuntimeError(f"{address} answered {answer.status_code}: {answer.text[:300]}")
    return answer
