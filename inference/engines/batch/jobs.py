"""A request in the batch engine: what of it has run, what that used, and how it ends."""

import math
from dataclasses import dataclass

import torch

from inference.engines.base import BatchRequest, Chunk
from inference.engines.batch.runner import Item, Runner


class Job:
    """Collects the rows of one request's items, which may come from several forward passes."""

    def __init__(self, request: BatchRequest, *, count: int) -> None:
        self.request = request
        self._rows: dict[int, torch.Tensor] = {}
        self._count = count
        self._units = 0
        self._seconds = 0.0

    @property
    def is_complete(self) -> bool:
        return len(self._rows) == self._count

    def keep(self, entry: "Entry", row: torch.Tensor, *, seconds: float) -> None:
        """Note the result of one item, and its share of a forward pass in `seconds`."""
        self._rows[entry.index] = row
        self._units += entry.item.units
        self._seconds += seconds

    def answered(self, runner: Runner) -> Chunk:
        """The last chunk of a complete job."""
        rows = [self._rows[index] for index in range(self._count)]
        output = runner.answer(rows, self.request.parameters)
        return Chunk(output=output, finish_reason="stop", usage=self._usage(runner.meter))

    def cancelled(self, meter: str) -> Chunk:
        """The last chunk of a job that its caller gave up: what ran was used, even if never seen."""
        return Chunk(finish_reason="cancelled", usage=self._usage(meter))

    def failed(self, error: str) -> Chunk:
        """The last chunk of a job that broke. It costs nothing."""
        return Chunk(finish_reason="error", error=error, usage={})

    def _usage(self, meter: str) -> dict[str, int]:
        if not self._units:
            return {}
        return {meter: self._units, "requests": 1, "compute_ms": math.ceil(self._seconds * 1000)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item and the job that waits for it."""

    job: Job
    index: int
    item: Item
