"""How versions stand with the workers and their callers right now, in the catalogue's words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import redis.exceptions
from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from inference import roll_call
from inference.quarantine import Quarantine
from inference.remote import health
from inference.remote.health import Health
from marketplace.models import Version
from portal.dashboard import trouble
from portal.dashboard.trouble import Trouble
from portal.kit import redis as kit_redis

State = Literal["live", "loading", "cold", "degraded", "down"]

# What each word claims, for whoever asks the page.
MEANINGS: Mapping[State, str | Promise] = {
    "live": _("Loaded on a worker: calls run at once."),
    "loading": _("A worker is loading it now; calls wait for that."),
    "cold": _("Not loaded: the first call loads it and waits for that."),
    "degraded": format_lazy(
        _("It is left alone after a failure, its last load failed, or of the calls begun in the last {minutes} minutes at least {fewest}, and at least one in {share}, failed on our side."),
        minutes=trouble.MINUTES, fewest=trouble.FEWEST_FAILED, share=trouble.ONE_IN,
    ),
    "down": _("No worker is running: calls are refused."),
}  # fmt: skip
REMOTE_MEANINGS: Mapping[State, str | Promise] = {
    "live": _("The provider's own server runs it."),
    "down": _("The provider's server fails: calls are refused until it answers again."),
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One version's state, and its trouble if it has any."""

    state: State
    trouble: Trouble | None = None
    is_remote: bool = False

    @property
    def meaning(self) -> str:
        return str((REMOTE_MEANINGS if self.is_remote else MEANINGS)[self.state])

    @property
    def minutes(self) -> int:
        """How far back its calls are looked at."""
        return trouble.MINUTES


def standings(versions: Iterable[Version]) -> Mapping[UUID, Standing]:
    """Where each version stands, by its id; all of them `down` when Redis does not answer."""
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
        found = health.read(kit_redis.client(), [version.hex for version in version_ids])
    except redis.exceptions.RedisError:
        return {}
    return {UUID(version): each for version, each in found.items()}


def _answering(ids: list[UUID]) -> dict[UUID, Standing]:
    """A server counts as live unless a web process leaves it alone."""
    found = healths(ids) if ids else {}
    return {
        version: Standing(
            "down" if version in found and found[version].state == "open" else "live", is_remote=True
        )
        for version in ids
    }


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
