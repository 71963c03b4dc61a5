"""Which tokens the next step computes: policy only, no tensors.

Every running sequence decodes one token in every step. What is left of the step's token budget goes to
prompts, in chunks, so that a long prompt never holds up the others' tokens. The oldest unfinished prompt
is sure of half of it and the rest goes to those nearest their first token, so that neither starves. Where
the model is slow, the budget shrinks to what keeps a step short while someone waits for the next token.
"""

from collections import deque
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
        decoding = [Work(s, s.computed, 1) for s in self.running if not s.is_prefilling]
        budget = self._budget(len(decoding))
        self._admit()
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
        """First come, first served; only those wait aside whose beginning is being computed just now."""
        for sequence in list(islice(self.waiting, 2 * self._slots)):
            if len(self.running) >= self._slots:
                return
            if self._room.is_coming(sequence):
                continue
            if not self._room.reserve(sequence):
                return
            self.waiting.remove(sequence)
            self.running.append(sequence)


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
