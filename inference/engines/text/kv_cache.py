"""Keys and values on the device, in pools of equal slots, and the prefixes that finished sequences leave.

A pool holds slots of one length; a sequence gets a slot that fits all it may ever hold, so running ones
never have to move or to be thrown out. Live sequences fill a pool's first slots without gaps, so that
decoding reads one view of it and gathers nothing. The slots after them keep what finished sequences
computed: a prompt that begins alike takes or copies that instead of computing it again.
"""

import itertools
import logging
import time
from collections.abc import Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from inference.engines.text.memory import slot_lengths
from inference.engines.text.sequence import Sequence

logger = logging.getLogger(__name__)
BLOCK = 16
SMALLEST_POOL = 4
WORTH_WAITING = 4 * BLOCK
SHORTAGE_SECONDS = 10.0


@dataclass(slots=True, eq=False)
class Kept:
    """What a finished sequence left in a slot: its tokens with computed keys and values."""

    tokens: list[int]
    scope: str
    used_at: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """The best start for a prompt: `length` tokens are in `slot` of `pool` (0: none are anywhere)."""

    length: int = 0
    pool: "Pool | None" = None
    slot: int = -1
    kept: Kept | None = None


class Pool:
    """Slots of one length. `keys[layer]` and `values[layer]` are [slots, kv_heads, length, head_dim]."""

    def __init__(self, *, length: int, layers: int, kv_heads: int, head_dim: int) -> None:
        self.length = length
        self.kv_heads = kv_heads
        self.head_dim = head_dim
        self.slots = 0
        self.live: list[Sequence] = []
        self.kept: dict[int, Kept] = {}
        self.keys: list[torch.Tensor] = [torch.empty(0)] * layers
        self.values: list[torch.Tensor] = [torch.empty(0)] * layers
        self._held = torch.empty(0)

    @property
    def idle(self) -> int:
        """Slots that no live sequence holds."""
        return self.slots - len(self.live)

    @property
    def held_tokens(self) -> int:
        """Tokens that the memory held would serve: more than the slots' if layers could not be evened out."""
        tensors = (*self.keys, *self.values)
        return -(-sum(map(len, tensors)) * self.length // len(tensors))

    def free_slot(self) -> int | None:
        return next((s for s in range(len(self.live), self.slots) if s not in self.kept), None)

    def resize(self, slots: int, *, device: str, dtype: torch.dtype) -> None:
        """Layer by layer, so that at most one layer exists twice. What is kept beyond `slots` is lost.

        Raises `torch.OutOfMemoryError` half-way; then some layers are longer, until `even_out`.
        """
        self.slots = stay = min(slots, self.slots)
        self.kept = {slot: kept for slot, kept in self.kept.items() if slot < slots}
        if not slots or not self._held.numel():
            shape = (self.kv_heads, self.length, self.head_dim) if slots else (0,)
            self._held = torch.empty(shape, device=device, dtype=dtype)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                # Zeros, not empty: a masked position still multiplies its value by 0, and 0 * NaN is NaN.
                new = torch.zeros(
                    slots, self.kv_heads, self.length, self.head_dim, device=device, dtype=dtype
                )
                if stay:
                    new[:stay] = old[:stay]
                tensors[layer] = new
        self.slots = slots

    def even_out(self) -> None:
        """Cut every layer to the slots that all of them have, layer by layer.

        The copies fit where growth stopped half-way: the layer that grew last left that much room. Raises
        `torch.OutOfMemoryError` if someone else has taken it; nothing is lost then.
        """
        self.slots = min(map(len, (*self.keys, *self.values)))
        for tensors in (self.keys, self.values):
            for layer, tensor in enumerate(tensors):
                if len(tensor) > self.slots:
                    tensors[layer] = tensor[: self.slots].clone()

    def swap(self, first: int, second: int, *, length: int) -> None:
        """Exchange the first `length` tokens of two slots. Allocates nothing: it must not fail half-way."""
        held = self._held[:, :length]
        for tensor in (*self.keys, *self.values):
            held.copy_(tensor[first, :, :length])
            tensor[first, :, :length] = tensor[second, :, :length]
            tensor[second, :, :length] = held

    def copy_from(self, other: "Pool", source: int, target: int, *, length: int) -> None:
        """Copy the first `length` tokens of `other`'s slot `source` to our slot `target`."""
        for ours, theirs in zip((*self.keys, *self.values), (*other.keys, *other.values), strict=True):
            ours[target, :, :length] = theirs[source, :, :length]

    def wipe(self, slot: int) -> None:
        for tensor in (*self.keys, *self.values):
            tensor[slot].zero_()


class KVCache:
    """The scheduler's `Room`: at most `budget_tokens` tokens' keys and values, over all pools.

    Where the device turns out to have less, what is allocated then is the budget for `SHORTAGE_SECONDS`, or
    until a pool shrinks or nothing is live, so that idle slots are taken and no step tries again in vain.
    """

    def __init__(
        self,
        *,
        layers: int,
        kv_heads: int,
        head_dim: int,
        context_length: int,
        budget_tokens: int,
        slots: int,
        device: str,
        dtype: torch.dtype,
    ) -> None:
        if budget_tokens < context_length:
            raise ValueError(f"{budget_tokens} tokens cannot hold one sequence of {context_length}")
        self.pools = [
            Pool(length=length, layers=layers, kv_heads=kv_heads, head_dim=head_dim)
            for length in slot_lengths(context_length)
        ]
        self._promised_tokens = budget_tokens
        self._budget_tokens = budget_tokens
        self._short_until = 0.0
        self._most_slots = 2 * slots
        self._device = device
        self._dtype = dtype
        self._clock = itertools.count()

    @property
    def allocated_tokens(self) -> int:
        return sum(pool.held_tokens for pool in self.pools)

    def is_coming(self, sequence: Sequence) -> bool:
        """See `Room.is_coming`."""
        for pool in self.pools:
            for other in pool.live:
                if other.computed < other.prompt_length and _shares_scope(other, sequence):
                    most = min(other.prompt_length, sequence.prompt_length - 1) // BLOCK * BLOCK
                    shared = _common_length(other.tokens, sequence.tokens, most=most)
                    if shared >= other.computed + WORTH_WAITING:
                        return shared >= self._match(sequence).length + WORTH_WAITING
        return False

    def reserve(self, sequence: Sequence) -> bool:
        """See `Room.reserve`. At least the last token is always left to compute."""
        number, pool = next((n, p) for n, p in enumerate(self.pools) if p.length >= sequence.limit)
        if not self._ensure_idle_slot(pool):
            return False
        prefix = self._match(sequence)
        in_place = prefix.pool is pool and prefix.kept is not None and _is_used_up(prefix)
        slot = prefix.slot if in_place else self._pick_slot(pool, spare=prefix)
        if prefix.pool is not None and not (prefix.pool is pool and prefix.slot == slot):
            pool.copy_from(prefix.pool, prefix.slot, slot, length=prefix.length)
        self._go_live(pool, slot, sequence, length=prefix.length)
        sequence.pool, sequence.slot = number, len(pool.live) - 1
        sequence.computed = prefix.length
        if not sequence.has_made_way:
            sequence.cached = prefix.length
        return True

    def fits_place_of(self, sequence: Sequence, other: Sequence) -> bool:
        """See `Room.fits_place_of`."""
        return self.pools[other.pool].length >= sequence.limit

    def release(self, sequence: Sequence, *, keep: bool) -> None:
        """See `Room.release`. Without `keep` the slot is wiped: it may hold NaN."""
        pool, slot, last = self.pools[sequence.pool], sequence.slot, len(self.pools[sequence.pool].live) - 1
        moved = pool.live[last]
        if not keep:
            pool.wipe(slot)
        if slot != last:
            pool.swap(slot, last, length=max(moved.computed, sequence.computed))
            pool.live[slot], moved.slot = moved, slot
        pool.live.pop()
        sequence.pool = sequence.slot = -1
        if keep and sequence.computed >= BLOCK:
            tokens = sequence.tokens[: sequence.computed]
            pool.kept[last] = Kept(tokens, sequence.request.cache_scope, next(self._clock))

    def clear(self) -> None:
        """Free all memory. No sequence may be live."""
        for pool in self.pools:
            pool.resize(0, device=self._device, dtype=self._dtype)
        self._budget_tokens = self._promised_tokens

    def _ensure_idle_slot(self, pool: Pool) -> bool:
        """Rather grow than evict; rather evict here than take memory from other lengths."""
        if pool.free_slot() is not None:
            return True
        if time.monotonic() >= self._short_until or not any(other.live for other in self.pools):
            self._budget_tokens = self._promised_tokens
        if self._grow(pool) or pool.kept:
            return True
        while self._reclaim(pool):
            if self._grow(pool):
                return True
        return False

    def _grow(self, pool: Pool) -> bool:
        affordable = (self._budget_tokens - self.allocated_tokens) // pool.length
        wanted = more = min(max(pool.slots, SMALLEST_POOL), affordable, self._most_slots - pool.slots)
        while more > 0 and not self._resize(pool, pool.slots + more):
            more //= 2
        if more < wanted:
            self._budget_tokens = self.allocated_tokens
            self._short_until = time.monotonic() + SHORTAGE_SECONDS
        return more > 0

    def _resize(self, pool: Pool, slots: int) -> bool:
        """False if the device, which others use too, has less left than the budget says."""
        try:
            pool.resize(slots, device=self._device, dtype=self._dtype)
        except torch.OutOfMemoryError:
            logger.warning("no device memory for %s slots of %s tokens", slots, pool.length)
        else:
            return True
        # Not in the handler: the error's traceback holds the layer that was resized last.
        try:
            pool.even_out()
        except torch.OutOfMemoryError:
            logger.warning("no device memory to even out the slots of %s tokens", pool.length)
        return False

    def _reclaim(self, pool: Pool) -> bool:
        """Take idle slots of other pools, the largest first, until one slot of this pool fits.

        False if none were taken.
        """
        before = self.allocated_tokens
        for other in sorted(self.pools, key=lambda p: p.idle * p.length, reverse=True):
            lacking = self.allocated_tokens + pool.length - self._budget_tokens
            if lacking <= 0:
                break
            taken = min(other.idle, -(-lacking // other.length))
            if other is not pool and taken and not self._resize(other, other.slots - taken):
                # The fewer stay, the less memory their copies need; without live ones, none.
                self._resize(other, len(other.live))
        if self.allocated_tokens == before:
            return False
        self._budget_tokens = self._promised_tokens
        return True

    def _pick_slot(self, pool: Pool, *, spare: Prefix) -> int:
        free = pool.free_slot()
        if free is not None:
            return free
        kept = pool.kept
        return min(kept, key=lambda slot: (kept[slot] is spare.kept, kept[slot].used_at))

    def _go_live(self, pool: Pool, slot: int, sequence: Sequence, *, length: int) -> None:
        """Put `slot` right after the live ones; what was kept there changes places with it."""
        first = len(pool.live)
        pool.kept.pop(slot, None)
        if slot != first:
            displaced = pool.kept.pop(first, None)
            pool.swap(slot, first, length=max(length, len(displaced.tokens) if displaced else 0))
            if displaced:
                pool.kept[slot] = displaced
        pool.live.append(sequence)

    def _match(self, sequence: Sequence) -> Prefix:
        best = Prefix()
        tokens, scope = sequence.tokens, sequence.request.cache_scope
        for pool, slot, kept, theirs, known in self._candidates(scope):
            most = min(known, len(tokens) - 1) // BLOCK * BLOCK
            # Most candidates differ at once: compare what would make them better before the rest.
            probe = slice(best.length, best.length + BLOCK)
            if most > best.length and theirs[probe] == tokens[probe]:
                length = _common_length(theirs, tokens, most=most)
                if length > best.length:
                    best = Prefix(length, pool, slot, kept)
        if best.kept:
            best.kept.used_at = next(self._clock)
        return best

    def _candidates(self, scope: str) -> Iterator[tuple[Pool, int, Kept | None, list[int], int]]:
        for pool in self.pools:
            for slot, kept in pool.kept.items():
                if kept.scope == scope:
                    yield pool, slot, kept, kept.tokens, len(kept.tokens)
            for live in pool.live:
                if live.request.cache_scope == scope:
                    yield pool, live.slot, None, live.tokens, live.computed


def _shares_scope(first: Sequence, second: Sequence) -> bool:
    return first.request.cache_scope == second.request.cache_scope


def _is_used_up(prefix: Prefix) -> bool:
    """Whether hardly anything of what was kept lies beyond the prefix, so that taking it loses nothing."""
    return prefix.kept is not None and len(prefix.kept.tokens) - prefix.length < 2 * BLOCK


def _common_length(first: Items[int], second: Items[int], *, most: int) -> int:
    """How many tokens two sequences share from the start, in whole blocks, up to `most`."""
    for start in range(0, most, BLOCK):
        if first[start : start + BLOCK] != second[start : start + BLOCK]:
            return start
    return most
