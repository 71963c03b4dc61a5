"""Labels with scores, for texts and for images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from inference.engines.base import BatchRequest, RequestRefused
from inference.engines.batch.images import decode, to_pixels
from inference.engines.batch.preprocessing import Preprocessing
from inference.engines.batch.runner import (
    Item,
    Meter,
    TextLimits,
    check_item_count,
    check_parameters,
    pad_texts,
    prepare_texts,
    read_positive,
)

MAX_IMAGES = 64
Activation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The names of a model's outputs, in order, and how its logits become scores."""

    names: tuple[str, ...]
    activation: Activation

    def describe(self, row: torch.Tensor, top_k: int | None) -> list[dict[str, Any]]:
        """[{"label", "score"}, ...] from the logits of one item, the highest score first."""
        scores = _activate(row, self.activation).tolist()
        ranked = sorted(zip(self.names, scores, strict=True), key=lambda pair: -pair[1])
        return [{"label": label, "score": score} for label, score in ranked[:top_k]]


def _activate(row: torch.Tensor, activation: Activation) -> torch.Tensor:
    if activation == "softmax":
        return row.softmax(dim=-1)
    return row.sigmoid() if activation == "sigmoid" else row


def choose_activation(problem_type: str | None, labels: int) -> Activation:
    """What transformers' own classification pipeline applies to a model with this config."""
    if problem_type == "regression":
        return "none"
    if problem_type == "multi_label_classification" or labels == 1:
        return "sigmoid"
    return "softmax"


class Classifier:
    """What text and image classification share: the model, its labels, the parameter `top_k`."""

    def __init__(self, model: nn.Module, *, labels: Labels) -> None:
        self.model = model
        self.labels = labels
        self.device = next(model.parameters()).device

    def check(self, request: BatchRequest) -> None:
        """Raises `RequestRefused` for unknown or senseless parameters."""
        check_parameters(request, frozenset({"top_k"}))
        read_positive(request.parameters, "top_k")

    def answer(self, rows: Sequence[torch.Tensor], parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {"labels": [self.labels.describe(row, parameters.get("top_k")) for row in rows]}

    def release(self) -> None:
        self.model = nn.Identity()


class TextClassifier(Classifier):
    """Sequence classification of token ids."""

    meter: Meter = "input_tokens"

    def __init__(self, model: nn.Module, *, labels: Labels, limits: TextLimits) -> None:
        super().__init__(model, labels=labels)
        self.limits = limits

    def prepare(self, request: BatchRequest) -> list[Item]:
        self.check(request)
        return prepare_texts(request, self.limits)

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        logits: torch.Tensor = self.model(**pad_texts(items, pad=self.limits.pad, device=self.device)).logits
        return logits.float().cpu()


class ImageClassifier(Classifier):
    """Classification of encoded images."""

    meter: Meter = "images"

    def __init__(self, model: nn.Module, *, labels: Labels, preprocessing: Preprocessing) -> None:
        super().__init__(model, labels=labels)
        self.preprocessing = preprocessing

    def prepare(self, request: BatchRequest) -> list[Item]:
        self.check(request)
        check_item_count(request, most=MAX_IMAGES)
        return [self._prepare(index, data) for index, data in enumerate(request.items)]

    def _prepare(self, index: int, data: Sequence[int] | bytes) -> Item:
        if not isinstance(data, bytes):
            raise RequestRefused(f"Item {index} must be the bytes of an image.")
        try:
            pixels = to_pixels(decode(data), self.preprocessing)
        except RequestRefused as refusal:
            raise RequestRefused(f"Item {index}: {refusal}") from refusal
        return Item(tensor=pixels, group=tuple(pixels.shape), length=1, units=1)

    def forward(self, items: Sequence[Item]) -> torch.Tensor:
        pixels = torch.stack([item.tensor for item in items]).to(self.device)
        logits: torch.Tensor = self.model(pixel_values=pixels).logits
        return logits.float().cpu()
