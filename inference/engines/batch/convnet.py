"""MercatoConvNet: convolution, pooling, a dense layer and a class per output, sized by its config."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import nn

from inference.engines.base import UnloadableVersion
from inference.engines.configuration import check_value

MODEL_TYPE = "mercato_convnet"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvNetConfig:
    """Sizes of the network. Each of `conv_channels` is a convolution followed by a 2 x 2 pool."""

    image_size: int = 8
    num_channels: int = 1
    conv_channels: tuple[int, ...] = (32, 64)
    kernel_size: int = 3
    hidden_size: int = 128
    dropout: float = 0.3
    labels: tuple[str, ...] = tuple(map(str, range(10)))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """The config in a parsed config.json. Raises `UnloadableVersion` for values out of bounds."""
        channels = raw.get("conv_channels", list(cls().conv_channels))
        if not isinstance(channels, list) or not 1 <= len(channels) <= 8:
            raise UnloadableVersion("config.json: conv_channels must list 1 to 8 layers.")
        config = cls(
            image_size=_read_size(raw, "image_size", most=1024),
            num_channels=_read_size(raw, "num_channels", most=4),
            conv_channels=tuple(_check_size("conv_channels", each, most=2048) for each in channels),
            kernel_size=_read_size(raw, "kernel_size", most=15),
            hidden_size=_read_size(raw, "hidden_size", most=16384),
            labels=read_labels(raw),
        )
        if config.kernel_size % 2 == 0 or config.image_size >> len(channels) < 1:
            raise UnloadableVersion("config.json: kernel_size must be odd and the image outlast its pools.")
        return config

    def to_json(self) -> dict[str, Any]:
        """What config.json holds."""
        return {
            "model_type": MODEL_TYPE,
            "architectures": ["MercatoConvNet"],
            "image_size": self.image_size,
            "num_channels": self.num_channels,
            "conv_channels": list(self.conv_channels),
            "kernel_size": self.kernel_size,
            "hidden_size": self.hidden_size,
            "problem_type": "single_label_classification",
            "id2label": {str(index): label for index, label in enumerate(self.labels)},
        }


def _read_size(raw: Mapping[str, Any], name: str, *, most: int) -> int:
    return _check_size(name, raw.get(name, getattr(ConvNetConfig(), name)), most=most)


def _check_size(name: str, value: Any, *, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise UnloadableVersion(f"config.json: {name} must be a whole number from 1 to {most}.")
    return value


def read_labels(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Label names in the order of the outputs. Raises `UnloadableVersion` if `id2label` has gaps."""
    names = raw.get("id2label")
    check_value("id2label", names)
    if not isinstance(names, Mapping) or not names:
        raise UnloadableVersion("config.json: id2label must name every output.")
    by_index = {str(index): str(name) for index, name in names.items()}
    try:
        return tuple(by_index[str(index)] for index in range(len(by_index)))
    except KeyError as error:
        raise UnloadableVersion(f"config.json: id2label has no output {error}.") from error


class MercatoConvNet(nn.Module):
    """Pixels [batch, channels, side, side] to `.logits` [batch, labels]; softmax is the caller's."""

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = config.num_channels
        for channels in config.conv_channels:
            layers += [
                nn.Conv2d(width, channels, config.kernel_size, padding="same"),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            width = channels
        side = config.image_size >> len(config.conv_channels)
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Linear(width * side * side, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, len(config.labels))

    def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
        hidden = torch.relu(self.dense(self.features(pixel_values)))
        return SimpleNamespace(logits=self.classifier(self.dropout(hidden)))
