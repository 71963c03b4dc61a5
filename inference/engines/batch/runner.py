"""What the engine needs of a task: items in, one row of numbers per item out. Also the checks of texts."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch

from inference.engines.base import BatchRequest, RequestRefused

Meter = Literal["input_tokens", "images"]

MAX_TEXTS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One input, ready for the model: token ids [length] or pixels [channels, height, width].

    `units` is what it counts on the runner's meter; `length` is its share of a batch's padded size.
    """

    tensor: torch.Tensor
    group: Hashable
    length: int
    units: int


class Runner(Protocol):
    """A loaded model with one task."""

    meter: Meter

    def prepare(self, request: BatchRequest) -> list[Item]:
        """Checked inputs of `request`. Runs on the submitter's thread; raises `RequestRefused`."""

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        """One row per item, float32 on the CPU, [items, width]. Runs on the engine's thread."""

    def answer(self, rows: Sequence[torch.Tensor], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The output of a request from the rows of its items, in their order."""

    def release(self) -> None:
        """Let go of the weights; `forward` is not called again."""


def check_item_count(request: BatchRequest, *, most: int) -> None:
    """Raises `RequestRefused` unless there are 1 to `most` items."""
    if not 1 <= len(request.items) <= most:
        raise RequestRefused(f"A request has 1 to {most} items, this one has {len(request.items)}.")


def check_parameters(request: BatchRequest, known: frozenset[str]) -> None:
    """Raises `RequestRefused` for a parameter that would be ignored."""
    if unknown := sorted(request.parameters.keys() - known):
        raise RequestRefused(f"Unknown parameter {unknown[0]!r} for this model.")


def read_positive(parameters: Mapping[str, Any], name: str) -> int | None:
    """The positive whole number `name`, or None where it is not given. Raises `RequestRefused`."""
    value = parameters.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise RequestRefused(f"{name} must be a whole number of at least 1.")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLimits:
    """What a text model takes: at most `length` token ids below `vocabulary`, padded with `pad`."""

    length: int
    vocabulary: int
    pad: int


def prepare_texts(request: BatchRequest, limits: TextLimits) -> list[Item]:
    """Items from token ids. Raises `RequestRefused` for an empty or overlong text or an unknown token."""
    check_item_count(request, most=MAX_TEXTS)
    return [_prepare_text(index, ids, limits) for index, ids in enumerate(request.items)]


def _prepare_text(index: int, ids: Sequence[int] | bytes, limits: TextLimits) -> Item:
    if isinstance(ids, bytes | str):
        raise RequestRefused(f"Item {index} must be a list of token ids.")
    if not 1 <= len(ids) <= limits.length:
        raise RequestRefused(f"Item {index} has {len(ids)} tokens, this model takes 1 to {limits.length}.")
    if any(type(token) is not int for token in ids) or not 0 <= min(ids) <= max(ids) < limits.vocabulary:
        raise RequestRefused(f"Item {index} has a token id outside of 0 to {limits.vocabulary - 1}.")
    tensor = torch.tensor(ids, dtype=torch.long)
    return Item(tensor=tensor, group="text", length=len(ids), units=len(ids))


def pad_texts(items: Sequence[Item], *, pad: int, device: torch.device) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, both [items, longest], padded on the right."""
    longest = max(item.length for item in items)
    ids = torch.full((len(items), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(items):
        ids[row, : item.length] = item.tensor
        mask[row, : item.length] = 1
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
