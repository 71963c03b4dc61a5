"""How versions stand right now: the one answer of pages, the catalogue, Studio and `/v1/models`.

Blocking: it asks Redis and Postgres. Where Redis does not answer no call can be admitted, so every version is down.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import redis.exceptions

from inference import roll_call, trouble
from inference.quarantine import Quarantine
from inference.remote import health
from inference.remote.health import Health
from inference.trouble import Trouble
from marketplace.models import Version
from portal.kit import redis as kit_redis

State = Literal["live", "loading", "cold", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Standing:
    """One version's state, and its trouble if it has any."""

    state: State
    trouble: Trouble | None = None
    is_remote: bool = False


def standings(versions: Iterable[Version]) -> Mapping[UUID, Standing]:
    """Where each version stands, by its id."""
    hosted: list[UUID] = []
    remote: list[UUID] = []
    for version in versions:
        (remote if version.is_remote else hosted).append(version.pk)
    return _placed_by_workers(hosted) | _answering(remote)


def quarantines(version_ids: Iterable[UUID]) -> dict[UUID, Quarantine]:
    """The versions that are left alone now, with why; empty when Redis does not answer."""
    try:
        return trouble.quarantines(list(version_ids))
    except redis.exceptions.RedisError:
        return {}


def healths(version_ids: Iterable[UUID]) -> Mapping[UUID, Health]:
    """How remote versions' servers do, as far as they are called at present; empty when Redis does not answer."""
    try:
        return _healths(version_ids)
    except redis.exceptions.RedisError:
        return {}


def _healths(version_ids: Iterable[UUID]) -> Mapping[UUID, Health]:
    found = health.read(kit_redis.client(), [version.hex for version in version_ids])
    return {UUID(version): each for version, each in found.items()}


def _answering(ids: list[UUID]) -> dict[UUID, Standing]:
    """A server counts as live unless a web process leaves it alone."""
    if not ids:
        return {}
    try:
        found = _healths(ids)
    except redis.exceptions.RedisError:
        return dict.fromkeys(ids, Standing("down", is_remote=True))
    left_alone = {version for version, each in found.items() if each.state == "open"}
    return {version: Standing("down" if version in left_alone else "live", is_remote=True) for version in ids}


def _placed_by_workers(ids: list[UUID]) -> dict[UUID, Standing]:
    if not ids:
        return {}
    try:
        workers = roll_call.present(kit_redis.client())
        troubled = trouble.find(ids) if workers else {}
    except redis.exceptions.RedisError:
        workers = []
    if not workers:
        return dict.fromkeys(ids, Standing("down"))
    states = {(replica.version, replica.state) for worker in workers for replica in worker.replicas}
    return {
        version: Standing("degraded", troubled[version])
        if version in troubled
        else Standing(_placed(version.hex, states))
        for version in ids
    }


def _placed(version: str, states: set[tuple[str, Literal["loading", "ready", "draining"]]]) -> State:
    if (version, "ready") in states:
        return "live"
    return "loading" if (version, "loading") in states else "cold"
