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
        _("Its last load failed, or of the calls begun in the last {minutes} minutes at least {fewest}, and at least one in {share}, failed on our side."),
        minutes=trouble.MINUTES, fewest=trouble.FEWEST_FAILED, share=trouble.ONE_IN,
    ),
    "down": _("No worker is running: calls are refused."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """One version's state, and its trouble if it has any."""

    state: State
    trouble: Trouble | None = None

    @property
    def meaning(self) -> str:
        return str(MEANINGS[self.state])

    @property
    def minutes(self) -> int:
        """How far back its calls are looked at."""
        return trouble.MINUTES


def standings(version_ids: Iterable[UUID]) -> Mapping[UUID, Standing]:
    """Where each version stands; all of them `down` when Redis does not answer."""
    ids = list(version_ids)
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
