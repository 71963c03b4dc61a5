"""How versions stand with the workers right now, in the catalogue's words."""

from collections.abc import Iterable, Mapping
from typing import Literal
from uuid import UUID

import redis.exceptions

from inference import roll_call
from portal.kit import redis as kit_redis

# live: resident. loading: on its way. cold: the first call loads it. down: no worker is running.
Standing = Literal["live", "loading", "cold", "down"]


def standings(version_ids: Iterable[UUID]) -> Mapping[UUID, Standing]:
    """Where each version stands; all of them `down` when Redis does not answer."""
    ids = list(version_ids)
    try:
        workers = roll_call.present(kit_redis.client())
    except redis.exceptions.RedisError:
        workers = []
    if not workers:
        return dict.fromkeys(ids, "down")
    states = {(replica.version, replica.state) for worker in workers for replica in worker.replicas}
    return {version: _standing(version.hex, states) for version in ids}


def _standing(version: str, states: set[tuple[str, Literal["loading", "ready", "draining"]]]) -> Standing:
    if (version, "ready") in states:
        return "live"
    return "loading" if (version, "loading") in states else "cold"
