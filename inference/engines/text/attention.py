"""Attention over the cache's slots, called by the model's own layers in place of transformers' `sdpa`.

A step's tokens are packed: each is a batch row of its own ([tokens, 1, hidden]), so that linear layers see
no padding. Here they part again: every run of decoding sequences in neighbouring slots is one batched
call, and so is every run of fresh prompts of one length; a later chunk of a prompt is a call of its own.
"""

from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention as attend
from transformers import AttentionInterface

from inference.engines.device import upload
from inference.engines.text.kv_cache import Pool

NAME = "mercato_slots"


class Group(Protocol):
    """Tokens [start, stop) of the step, which attend in one call."""

    def run(self, call: "Call") -> torch.Tensor:
        """[stop - start, 1, heads, head_dim] of the call's."""


@dataclass(frozen=True, slots=True)
class Call:
    """One layer's attention over the whole step: query [tokens, heads, 1, head_dim], the step's own keys and
    values [tokens, kv_heads, 1, head_dim], and the layer's sliding window in tokens (0: none)."""

    layer: int
    query: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    scale: float
    window: int


@dataclass(slots=True)
class Decoding:
    """One token each of the sequences in neighbouring slots; their `lengths` count it too."""

    pool: Pool
    first_slot: int
    start: int
    stop: int
    longest: int
    shortest: int
    lengths: Items[int]
    masks: dict[int, torch.Tensor | None] = field(default_factory=dict)

    def run(self, call: "Call") -> torch.Tensor:
        pool, count = self.pool, self.stop - self.start
        slots = slice(self.first_slot, self.first_slot + count)
        keys = pool.keys[call.layer][slots, :, : self.longest]
        values = pool.values[call.layer][slots, :, : self.longest]
        # The query heads that share a key head become the rows of one small matrix: no key is repeated.
        rows = call.query[self.start : self.stop].reshape(count, pool.kv_heads, -1, pool.head_dim)
        output = attend(rows, keys, values, attn_mask=self._mask(call.window, rows), scale=call.scale)
        return output.reshape(count, 1, -1, pool.head_dim)

    def _mask(self, window: int, like: torch.Tensor) -> torch.Tensor | None:
        if window not in self.masks:
            self.masks[window] = self._build_mask(window, like)
        return self.masks[window]

    def _build_mask(self, window: int, like: torch.Tensor) -> torch.Tensor | None:
        if self.shortest == self.longest and not 0 < window < self.longest:
            return None
        lengths = upload(list(self.lengths), device=str(like.device))[:, None]
        positions = torch.arange(self.longest, device=lengths.device)[None]
        hidden = positions >= lengths
        if window:
            hidden = hidden | (positions < lengths - window)
        mask = torch.zeros(hidden.shape, dtype=like.dtype, device=hidden.device)
        return mask.masked_fill_(hidden, float("-inf"))[:, None, None]


@dataclass(slots=True)
class FreshPrompts:
    """Whole first chunks of `count` prompts, `size` tokens each, which see nothing but themselves."""

    start: int
    stop: int
    count: int
    size: int

    def run(self, call: "Call") -> torch.Tensor:
        rows, keys, values = (
            tensor[self.start : self.stop]
            .reshape(self.count, self.size, -1, tensor.shape[-1])
            .transpose(1, 2)
            for tensor in (call.query, call.keys, call.values)
        )
        is_windowed = 0 < call.window < self.size
        mask = _causal_mask(self.size, self.size, call.window, rows) if is_windowed else None
        output = _attend_grouped(rows, keys, values, mask=mask, scale=call.scale)
        return output.transpose(1, 2).reshape(self.stop - self.start, 1, -1, rows.shape[-1])


@dataclass(slots=True)
class LaterChunk:
    """A chunk of one prompt, of which the slot holds all up to and including the chunk: `length` tokens."""

    pool: Pool
    slot: int
    start: int
    stop: int
    length: int
    masks: dict[int, torch.Tensor] = field(default_factory=dict)

    def run(self, call: "Call") -> torch.Tensor:
        if call.window not in self.masks:
            self.masks[call.window] = _causal_mask(
                self.stop - self.start, self.length, call.window, call.query
            )
        rows = call.query[self.start : self.stop].permute(2, 1, 0, 3)
        keys = self.pool.keys[call.layer][self.slot, :, : self.length][None]
        values = self.pool.values[call.layer][self.slot, :, : self.length][None]
        return _attend_grouped(rows, keys, values, mask=self.masks[call.window], scale=call.scale).permute(
            2, 0, 1, 3
        )


@dataclass(frozen=True, slots=True)
class Writing:
    """Where keys and values of tokens [start, stop) go: rows `index` of the pool seen as [rows, head_dim]."""

    pool: Pool
    start: int
    stop: int
    index: torch.Tensor

    def run(self, call: Call) -> None:
        width = self.pool.head_dim
        for target, source in ((self.pool.keys, call.keys), (self.pool.values, call.values)):
            rows = source[self.start : self.stop].reshape(-1, width)
            target[call.layer].view(-1, width).index_copy_(0, self.index, rows)


@dataclass(frozen=True, slots=True)
class Step:
    """What attention needs to know of a step."""

    writings: list[Writing]
    groups: list[Group]

    def run(self, call: Call) -> torch.Tensor:
        """Store the call's keys and values, and attend. Returns [tokens, 1, heads, head_dim]."""
        for writing in self.writings:
            writing.run(call)
        parts = [group.run(call) for group in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def slot_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    step: Step,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' attention interface; see `Call` for shapes. Returns [tokens, 1, heads, head_dim]."""
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    call = Call(int(module.layer_idx), query, key, value, scale, sliding_window or 0)  # type: ignore[arg-type]
    return step.run(call), None


def register() -> None:
    """Make `slot_attention` known to transformers. No mask function goes with it: none is ever built."""
    AttentionInterface.register(NAME, slot_attention)


def _attend_grouped(
    rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, mask: torch.Tensor | None, scale: float
) -> torch.Tensor:
    """Causal when `mask` is None. Shares key heads among query heads."""
    grouped = rows.shape[1] != keys.shape[1]
    if grouped and rows.is_cuda and (mask is not None or rows.dtype == torch.float32):
        # On CUDA only the flash kernel shares key heads, and it takes neither masks nor float32. What
        # would be left writes out the whole [heads, count, length] matrix.
        repeats = rows.shape[1] // keys.shape[1]
        keys, values = keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1)
        grouped = False
    return attend(rows, keys, values, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped)


def _causal_mask(count: int, length: int, window: int, like: torch.Tensor) -> torch.Tensor:
    """Mask [count, length] of the last `count` of `length` tokens, limited to `window` if that is not 0."""
    rows = torch.arange(length - count, length, device=like.device)[:, None]
    columns = torch.arange(length, device=like.device)[None]
    hidden = columns > rows
    if window:
        hidden = hidden | (columns <= rows - window)
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, float("-inf"))
