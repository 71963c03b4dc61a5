"""Whose items the next batch must hold, where several owners wait: whoever has had least of the engine.

(Start-time fair queuing by tokens; Goyal, Vin, Cheng 1996.) The rest of the batch is filled as ever.
"""

from collections.abc import Collection, Sequence

from inference.engines.batch.batching import Waiting
from inference.engines.batch.jobs import Entry, Job

OWNERS_KEPT = 1_000


class Turns:
    """Used under the engine's lock."""

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._now = 0.0

    def are_needed(self, jobs: Collection[Job]) -> bool:
        """Whether jobs of several owners are here."""
        owners = {job.request.owner for job in jobs}
        return len(owners) > 1

    def next(self, waiting: Sequence[Waiting[Entry]]) -> Waiting[Entry] | None:
        """The oldest item of the owner whose turn it is."""
        if not waiting:
            return None
        entry = min(waiting, key=lambda each: (self._turn(_owner(each)), each.since))
        self._now = self._turn(_owner(entry))
        return entry

    def note(self, batch: Sequence[Waiting[Entry]]) -> None:
        """These have their turn now."""
        for entry in batch:
            owner = _owner(entry)
            self._had[owner] = self._turn(owner) + entry.length
        if len(self._had) > OWNERS_KEPT:
            self._had = {owner: had for owner, had in self._had.items() if had > self._now}

    def _turn(self, owner: str) -> float:
        # Being away saves up nothing.
        return max(self._now, self._had.get(owner, 0.0))


def _owner(entry: Waiting[Entry]) -> str:
    return entry.item.job.request.owner
