"""How versions stand, in the catalogue's words."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from inference import availability, trouble
from inference.availability import State
from marketplace.models import Version

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


class Standing(availability.Standing):
    """One that says what it means."""

    __slots__ = ()

    @property
    def meaning(self) -> str:
        return str((REMOTE_MEANINGS if self.is_remote else MEANINGS)[self.state])

    @property
    def minutes(self) -> int:
        """How far back its calls are looked at."""
        return trouble.MINUTES


def standings(versions: Iterable[Version]) -> Mapping[UUID, Standing]:
    """Where each version stands, by its id."""
    found = availability.standings(versions)
    return {version: Standing(each.state, each.trouble, each.is_remote) for version, each in found.items()}
