"""Which tokens the next step computes: policy only, no tensors.

Every running sequence decodes one token in every step. What is left of the step's token budget goes to
prompts, in chunks, so that a long prompt never holds up the others' tokens. The oldest unfinished prompt
is sure of half of it and the rest goes to those nearest their first token, so that neither starves. Where
the model is slow, the budget shrinks to what keeps a step short while someone waits for the next token.

While sequences of several owners are here, none has more of the places than its share if others lack theirs: its
newest ones make way, and go on later from what the cache still has of them.
"""

from collections import Counter, deque
from itertools import islice
from typing import Protocol

from inference.engines.text.sequence import Sequence, Work

STEP_SECONDS = 0.1
SMALLEST_BUDGET = 16


class Room(Protocol):
    """Where keys and values live: `reserve` fixes a sequence's place for all of its `limit` tokens."""

    def is_coming(self, sequence: Sequence) -> bool:
        """Whether a running sequence is about to compute much of what this one begins with."""

    def reserve(self, sequence: Sequence) -> bool:
        """False if it must wait. Else `computed` and `cached` say how much of its prompt was there."""

    def fits_place_of(self, sequence: Sequence, other: Sequence) -> bool:
        """Whether a waiting sequence is sure of a place if that running one gives its own back."""

    def release(self, sequence: Sequence, *, keep: bool) -> None:
        """Give the place back; with `keep` its contents may serve a later prompt."""


class Scheduler:
    """A queue in order of arrival, and at most `slots` sequences running."""

    def __init__(self, room: Room, *, slots: int, step_tokens: int) -> None:
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self._room = room
        self._slots = slots
        self._step_tokens = step_tokens
        self._seconds_per_token = 0.0

    @property
    def has_work(self) -> bool:
        return bool(self.running or self.waiting)

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence, *, keep: bool) -> None:
        """Forget a sequence, waiting or running; `keep` its place's contents for later prompts."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._room.release(sequence, keep=keep)
        else:
            self.waiting.remove(sequence)

    def plan(self) -> list[Work]:
        """The work of the next step; empty only when there is nothing to do."""
        self._admit()
        decoding = [Work(s, s.computed, 1) for s in self.running if not s.is_prefilling]
        budget = self._budget(len(decoding))
        return decoding + _share(budget, [s for s in self.running if s.is_prefilling])

    def note_speed(self, tokens: int, seconds: float) -> None:
        """Learn from a step how long a prompt's token takes; steps of few tokens say little of that."""
        if tokens >= 2 * SMALLEST_BUDGET:
            latest, known = seconds / tokens, self._seconds_per_token
            self._seconds_per_token = known + (latest - known) / 4 if known else latest

    def _budget(self, decoding: int) -> int:
        """Tokens of prompts in the next step, at least a quarter of a full step's."""
        limit = self._step_tokens
        if decoding and self._seconds_per_token:
            limit = min(limit, max(int(STEP_SECONDS / self._seconds_per_token), SMALLEST_BUDGET))
        return max(limit - decoding, limit // 4, 1)

    def _admit(self) -> None:
        """First come, first served, those first whose owners have least; only those wait aside whose beginning is
        being computed just now.
        """
        if not self.waiting:
            return
        share = self._share_of_places()
        for sequence in self._in_turn():
            if self._room.is_coming(sequence):
                continue
            if not self._enter(sequence) and not (
                self._make_way(sequence, share=share) and self._enter(sequence)
            ):
                return

    def _enter(self, sequence: Sequence) -> bool:
        if len(self.running) >= self._slots or not self._room.reserve(sequence):
            return False
        self.waiting.remove(sequence)
        self.running.append(sequence)
        return True

    def _in_turn(self) -> list[Sequence]:
        first = list(islice(self.waiting, 2 * self._slots))
        owners = self._count_by_owner()
        if len(owners.keys() | {sequence.request.owner for sequence in self.waiting}) < 2:
            return first
        return sorted(self.waiting, key=lambda sequence: owners[sequence.request.owner])

    def _share_of_places(self) -> int:
        """How many sequences of each owner may run where there is room for no more than now."""
        owners = {sequence.request.owner for sequence in (*self.running, *self.waiting)}
        return max(1, len(self.running) // len(owners))

    def _make_way(self, sequence: Sequence, *, share: int) -> bool:
        """Take the place of another owner's newest sequence that fits, if that owner has more than its share and
        this one less.
        """
        owners = self._count_by_owner()
        if not owners or owners[sequence.request.owner] >= share:
            return False
        richest = max(owners, key=owners.__getitem__)
        if owners[richest] <= share:
            return False
        theirs = (other for other in reversed(self.running) if other.request.owner == richest)
        newest = next((other for other in theirs if self._room.fits_place_of(sequence, other)), None)
        if newest is not None:
            self._pause(newest)
        return newest is not None

    def _pause(self, sequence: Sequence) -> None:
        self.running.remove(sequence)
        self._room.release(sequence, keep=True)
        sequence.counted, sequence.has_made_way = max(sequence.counted, sequence.computed), True
        sequence.computed = 0
        self.waiting.appendleft(sequence)

    def _count_by_owner(self) -> Counter[str]:
        return Counter(sequence.request.owner for sequence in self.running)


def _share(budget: int, prefilling: list[Sequence]) -> list[Work]:
    if not prefilling:
        return []
    oldest = prefilling[0]
    grants = {id(oldest): min(_left(oldest), (budget + 1) // 2)}
    budget -= grants[id(oldest)]
    for sequence in sorted(prefilling, key=_left):
        more = min(_left(sequence) - grants.get(id(sequence), 0), budget)
        grants[id(sequence)] = grants.get(id(sequence), 0) + more
        budget -= more
    return [Work(s, s.computed, grants[id(s)]) for s in prefilling if grants[id(s)]]


def _left(sequence: Sequence) -> int:
    return len(sequence.tokens) - sequence.computed
