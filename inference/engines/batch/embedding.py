"""Text embeddings: token ids in, one float32 vector per text out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from inference.engines.base import BatchRequest, RequestRefused
from inference.engines.batch.runner import (
    Item,
    Meter,
    TextLimits,
    check_parameters,
    pad_texts,
    prepare_texts,
    read_positive,
)
from inference.engines.batch.sentences import Sentences


class Embedder:
    """Feature extraction with the modules that the model's own files list.

    `dimensions` are the lengths that vectors may be cut to: their own, and those that the model was trained for.
    """

    meter: Meter = "input_tokens"

    def __init__(
        self, model: nn.Module, *, limits: TextLimits, sentences: Sentences, dimensions: Collection[int] = ()
    ) -> None:
        self.model = model
        self.limits = limits
        self.sentences = sentences
        self.dimensions = frozenset(dimensions) | {sentences.width}
        self.device = next(model.parameters()).device

    def prepare(self, request: BatchRequest) -> list[Item]:
        check_parameters(request, frozenset({"dimensions"}))
        wanted = read_positive(request.parameters, "dimensions")
        if wanted is not None and wanted not in self.dimensions:
            choices = ", ".join(map(str, sorted(self.dimensions)))
            reason = f"'dimensions' must be one of {choices} for this model."
            raise RequestRefused(reason)
        return prepare_texts(request, self.limits)

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        inputs = pad_texts(items, pad=self.limits.pad, device=self.device)
        hidden = self.model(**inputs).last_hidden_state
        return self.sentences(hidden, inputs["attention_mask"]).float().cpu()

    def answer(self, rows: Sequence[torch.Tensor], parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"embeddings": [self._encode(row, parameters.get("dimensions")) for row in rows]}

    def release(self) -> None:
        self.model = nn.Identity()
        self.sentences = Sentences(width=self.sentences.width)

    def _encode(self, row: torch.Tensor, dimensions: int | None) -> bytes:
        if dimensions is not None and dimensions < len(row):
            row = row[:dimensions]
            # A cut vector is no longer of length 1; models that scale promise that theirs are.
            row = nn.functional.normalize(row, dim=-1) if self.sentences.scales else row
        return row.numpy().astype("<f4").tobytes()
