"""Run one step's work through the model: pack the tokens, lay out attention, return the last logits."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from itertools import groupby

import torch
from transformers import PreTrainedModel

from inference.engines.device import hand_back_memory, upload, wait
from inference.engines.text import attention, decoder
from inference.engines.text.kv_cache import KVCache, Pool
from inference.engines.text.sequence import Work


class Runner:
    """A model whose attention reads and writes `cache`. One step at a time, on one thread."""

    def __init__(self, model: PreTrainedModel, cache: KVCache, *, device: str) -> None:
        self._decode: decoder.Decoder = decoder.wrap(model)
        self._head: torch.nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._cache = cache
        self._device = device
        # Where each key head's rows begin in a slot, by the slot's length.
        self._heads: dict[int, torch.Tensor] = {}
        # Wrapping joins weights, and leaves blocks behind in which no joint one fits.
        hand_back_memory(device)

    def run(self, works: Items[Work]) -> tuple[list[Work], torch.Tensor]:
        """Compute `works`. Returns those that complete their sequence, and their float32 logits [rows, vocab].

        Sequences are not advanced: a step that raised can simply be run again, or in parts.
        """
        ordered = sorted(works, key=_layout_key)
        tokens = [t for w in ordered for t in w.sequence.tokens[w.start : w.start + w.count]]
        positions = [p for w in ordered for p in range(w.start, w.start + w.count)]
        slots = [w.sequence.slot for w in ordered for _ in range(w.count)]
        # One upload: each takes as long as a small product.
        packed = upload([tokens, positions, slots], device=self._device)
        step = self._lay_out(ordered, packed[1], packed[2])
        hidden = self._decode(packed[0], packed[1], step)
        completing, rows = _completing(ordered)
        if not rows:
            wait(self._device)  # else nobody would, and the step would seem to have taken no time
            hidden = hidden[:0]
        elif len(rows) != len(tokens):
            hidden = hidden[upload(rows, device=self._device, dtype=torch.long)]
        return completing, self._head(hidden).float()

    def free(self) -> None:
        """Let go of the model. `run` must not be called again."""
        del self._decode, self._head, self._heads
        hand_back_memory(self._device)

    def _lay_out(self, ordered: Items[Work], positions: torch.Tensor, slots: torch.Tensor) -> attention.Step:
        writings: list[attention.Writing] = []
        groups: list[attention.Group] = []
        start = 0
        for number, pool_works in groupby(ordered, key=lambda w: w.sequence.pool):
            works, pool = list(pool_works), self._cache.pools[number]
            stop = start + sum(w.count for w in works)
            index = self._row_index(pool, slots[start:stop], positions[start:stop])
            writings.append(attention.Writing(pool, start, stop, index))
            groups.extend(self._group(pool, works, start))
            start = stop
        return attention.Step(writings, groups)

    def _row_index(self, pool: Pool, slots: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Rows of [slots * kv_heads * length, head_dim] for every token and key head, token by token."""
        heads = self._heads.get(pool.length)
        if heads is None:
            heads = torch.arange(0, pool.kv_heads * pool.length, pool.length, device=self._device)
            self._heads[pool.length] = heads
        first = slots * (pool.kv_heads * pool.length) + positions
        return (first[:, None] + heads).flatten()

    def _group(self, pool: Pool, works: Items[Work], start: int) -> Iterator[attention.Group]:
        for _, run in groupby(enumerate(works), key=lambda pair: _group_key(*pair)):
            members = [work for _, work in run]
            stop = start + sum(w.count for w in members)
            yield self._build_group(pool, members, start, stop)
            start = stop

    def _build_group(self, pool: Pool, works: list[Work], start: int, stop: int) -> attention.Group:
        first = works[0]
        if _is_decoding(first):
            lengths = [w.start + 1 for w in works]
            return attention.Decoding(
                pool,
                first.sequence.slot,
                start,
                stop,
                max(lengths),
                min(lengths),
                lengths,
            )
        if first.start == 0:
            return attention.FreshPrompts(start, stop, len(works), first.count)
        return attention.LaterChunk(pool, first.sequence.slot, start, stop, first.start + first.count)


def _layout_key(work: Work) -> tuple[int, bool, int, int]:
    """Pool by pool; in each the decoding ones by slot, then chunks with those of one shape side by side."""
    sequence = work.sequence
    if _is_decoding(work):
        return sequence.pool, False, 0, sequence.slot
    return sequence.pool, True, work.count if work.start == 0 else -1, sequence.slot


def _is_decoding(work: Work) -> bool:
    return work.count == 1 and work.start > 0


def _group_key(number: int, work: Work) -> tuple[str, int]:
    """Equal for neighbours in the layout that can attend in one call."""
    if _is_decoding(work):
        return "slots", work.sequence.slot - number
    if work.start == 0:
        return "fresh", work.count
    return "chunk", work.sequence.slot


def _completing(ordered: Items[Work]) -> tuple[list[Work], list[int]]:
    works, rows, stop = [], [], 0
    for work in ordered:
        stop += work.count
        if work.completes:
            works.append(work)
            rows.append(stop - 1)
    return works, rows
