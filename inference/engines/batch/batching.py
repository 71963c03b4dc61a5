"""Which waiting items to run next. Pure policy: no clock, no tensors, no threads.

The engine asks whenever it is free and takes what is there, so an idle engine adds no delay and a busy one
drains in full batches. Naive batching in order of arrival wastes most of its work on padding: items of
similar length go together, and a batch grows only while padding costs less than another forward pass.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Generic[T]):
    """One item in the queue. Only items of one `group` (a shape, say) can share a batch.

    `length` is its cost before padding (tokens of a text, 1 for an image); `since` is in seconds.
    """

    item: T
    group: Hashable
    length: int
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one batch.

    `padded` is the most items times longest item. `pass_cost` is what starting another forward pass costs,
    in tokens. An item that has waited `max_age` seconds is in the next batch, whatever its length.
    """

    padded: int = 2048
    items: int = 64
    pass_cost: int = 16
    max_age: float = 0.5


def choose(
    waiting: Sequence[Waiting[T]], *, now: float, limits: Limits, turn: Waiting[T] | None = None
) -> list[Waiting[T]]:
    """The next batch of `waiting`: the shortest items first, or the oldest and its like once it aged, or the one
    whose `turn` it is and its like.

    Either is a part of one division by length, so that items that age all at once still run in full batches.
    """
    if not waiting:
        return []
    oldest = turn or min(waiting, key=lambda entry: entry.since)
    peers = sorted(
        (entry for entry in waiting if entry.group == oldest.group), key=lambda entry: entry.length
    )
    batch = _upwards(peers, limits)
    if turn is not None or now - oldest.since >= limits.max_age:
        while all(entry is not oldest for entry in batch):
            peers = peers[len(batch) :]
            batch = _upwards(peers, limits)
    return batch


def _upwards(peers: Sequence[Waiting[T]], limits: Limits) -> list[Waiting[T]]:
    """From the shortest on, until the bounds or a step in length that another pass would cost less than."""
    batch = [peers[0]]
    for entry in peers[1:]:
        padding = (entry.length - batch[-1].length) * len(batch)
        if padding > limits.pass_cost or not _fits(len(batch) + 1, entry.length, limits):
            break
        batch.append(entry)
    return batch


def _fits(count: int, longest: int, limits: Limits) -> bool:
    return count <= limits.items and count * longest <= limits.padded
