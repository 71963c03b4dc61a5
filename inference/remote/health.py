"""How the web processes find providers' servers: written by each for itself, kept in Redis while it is fresh."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from inference.remote.circuit import State

# A process says it anew this often; what is older than the second is of one that has gone.
WRITE_SECONDS, FRESH_SECONDS = 10.0, 30.0
_KEPT_SECONDS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Of one server, in one process or all of them: `fault` is one of our own phrases."""

    state: State
    failures: int
    fault: str
    in_flight: int
    concurrency: int


def commands(version: str, web: str, health: Health) -> Sequence[Sequence[Any]]:
    """The Redis commands by which a web process says how it finds a version's server."""
    packed = msgpack.packb({**asdict(health), "at": time.time()})
    return (("HSET", _key(version), web, packed), ("EXPIRE", _key(version), _KEPT_SECONDS))


def read(client: Any, versions: Iterable[str]) -> Mapping[str, Health]:
    """What the processes together say of these versions; those that nobody calls at present are left out."""
    asked = list(versions)
    pipeline = client.pipeline(transaction=False)
    for version in asked:
        pipeline.hvals(_key(version))
    found = {}
    for version, values in zip(asked, pipeline.execute() if asked else [], strict=True):
        fresh = [said for said in map(msgpack.unpackb, values) if time.time() - said["at"] < FRESH_SECONDS]
        if fresh:
            found[version] = _sum_up(fresh)
    return found


def _sum_up(said: Sequence[Mapping[str, Any]]) -> Health:
    worst = max(said, key=lambda each: (each["state"] != "closed", each["failures"]))
    return Health(
        state=worst["state"], failures=worst["failures"], fault=worst["fault"],
        in_flight=sum(each["in_flight"] for each in said), concurrency=sum(each["concurrency"] for each in said),
    )  # fmt: skip


def _key(version: str) -> str:
    return f"inference:upstream:{version}"
