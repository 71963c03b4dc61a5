"""Whether a Redis can carry the site: its version, what it evicts, what it keeps on disk, whether it takes writes.

All of it from INFO, which services without CONFIG answer as well. Asked by every process as it starts, by `/readyz`,
and by the meter from time to time, as the settings of a server may be changed while it runs.
"""

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from portal.kit.redis import client, is_away, is_passing

LEAST_VERSION = (6, 2)
EVICTS_NOTHING = "noeviction"
# A key that is written only to see whether it can be.
PROBE, PROBE_SECONDS = "ready:probe", 60

log = logging.getLogger(__name__)


class Unfit(Exception):
    """The Redis of REDIS_URL would lose calls and money; `str(error)` is one clear sentence."""


@dataclass(frozen=True)
class Fitness:
    """`refusal` says why the server cannot be used, `warnings` what it puts at risk; each in a sentence."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()


def examine(info: Mapping[str, Any]) -> Fitness:
    """What the answer to INFO says."""
    version = str(info.get("redis_version", ""))
    if not _is_recent(version):
        least = ".".join(map(str, LEAST_VERSION))
        return Fitness(
            f"The Redis of REDIS_URL is version {version or 'unknown'}, and {least} or later is needed."
        )
    policy = str(info.get("maxmemory_policy", EVICTS_NOTHING))
    if policy != EVICTS_NOTHING:
        return Fitness(
            f"The Redis of REDIS_URL evicts keys when it is full (maxmemory-policy {policy}) and would so lose calls "
            f"and usage: set its maxmemory-policy to {EVICTS_NOTHING}."
        )
    warnings = []
    if not int(info.get("aof_enabled", 0)):
        warnings.append(
            "The Redis of REDIS_URL keeps no append-only file, so that calls and usage are lost when it restarts: "
            "set its appendonly to yes."
        )
    return Fitness(warnings=tuple(warnings))


def require(server: "redis.Redis | None" = None) -> None:
    """Raises `Unfit`, and logs what is at risk. Of a server that is away nothing is known, so nothing is said."""
    try:
        fitness = examine((server or client()).info())
    except redis.RedisError as error:
        log.warning("Redis could not be examined: %s", error)
        return
    for warning in fitness.warnings:
        log.warning(warning)
    if fitness.refusal:
        raise Unfit(fitness.refusal)


def require_or_exit() -> None:
    """`require` for a program, which ends with the sentence."""
    try:
        require()
    except Unfit as unfit:
        sys.exit(f"Mercato cannot start: {unfit}")


def report() -> None:
    """Log what has become wrong with the server. Raises `redis.RedisError`."""
    fitness = examine(client().info())
    if fitness.refusal:
        log.error(fitness.refusal)


def find_obstacle() -> str:
    """Why the server takes no calls at present; "" if it does. Raises `redis.RedisError`."""
    try:
        client().set(PROBE, 1, ex=PROBE_SECONDS)
    except redis.RedisError as error:
        if is_away(error) or not is_passing(error):
            raise
        return f"takes no calls: {error}"
    return ""


def _is_recent(version: str) -> bool:
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    return numbers >= LEAST_VERSION
