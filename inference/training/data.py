"""Splitting and batching, repeatable by seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Indices for learning, for choosing when to stop, and for the figures on the card."""

    train: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor


def split_by_class(targets: torch.Tensor, *, validation: float, test: float, seed: int) -> Split:
    """Divide items so that each part holds the same share of every class. The shares are of 1."""
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[torch.Tensor], ...] = ([], [], [])
    for label in range(int(targets.max()) + 1):
        members = (targets == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        ends = [round(len(members) * share) for share in (test, test + validation)]
        for part, piece in zip(parts, members.tensor_split(ends), strict=True):
            part.append(piece)
    test_part, validation_part, train_part = (torch.cat(part).sort().values for part in parts)
    return Split(train=train_part, validation=validation_part, test=test_part)


def shuffle_batches(
    tensors: Sequence[torch.Tensor], *, size: int, seed: int
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches of rows of all `tensors` alike, in a new order each epoch, without end."""
    generator = torch.Generator().manual_seed(seed)
    count = len(tensors[0])
    while True:
        order = torch.randperm(count, generator=generator)
        for start in range(0, count, size):
            chosen = order[start : start + size]
            yield tuple(tensor[chosen] for tensor in tensors)


def shift_images(images: torch.Tensor, *, most: int, generator: torch.Generator) -> torch.Tensor:
    """Each of `images` [count, channels, height, width] moved by up to `most` pixels, its edges repeated."""
    height, width = images.shape[2:]
    padded = torch.nn.functional.pad(images, (most,) * 4, mode="replicate")
    offsets = torch.randint(0, 2 * most + 1, (len(images), 2), generator=generator).tolist()
    moved = [
        image[:, top : top + height, left : left + width]
        for image, (top, left) in zip(padded, offsets, strict=True)
    ]
    return torch.stack(moved)
