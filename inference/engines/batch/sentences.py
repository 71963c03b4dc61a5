"""From token vectors to one vector per text: the modules that a sentence-transformers directory lists.

Pooling comes first; dense layers and scaling follow in their order, and the vector may be cut at the end.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from inference.engines.base import UnloadableVersion
from inference.engines.batch.pooling import pool, read_modes
from inference.engines.checkpoint import MAX_JSON_BYTES, load_state, read_json

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
MAX_MODULES = 16
MAX_WIDTH = 65_536
ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {kind.__name__: kind for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid)}
)
OF_SENTENCES = (None, "sentence_embedding")


class Normalize(nn.Module):
    """Vectors of length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(vectors, dim=-1)


class Dense(nn.Module):
    """A linear layer with an activation, and perhaps its input added; parameters are named as in its file."""

    def __init__(self, sizes: tuple[int, int], *, bias: bool, activation: nn.Module, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(*sizes, bias=bias)
        self.activation = activation
        self.has_residual = residual
        if residual and sizes[0] != sizes[1]:
            self.residual = nn.Linear(*sizes, bias=False)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.activation(self.linear(vectors))
        if not self.has_residual:
            return found
        return found + (self.residual(vectors) if hasattr(self, "residual") else vectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """How to pool (`modes`, joined side by side), what follows (`steps`), and the `width` that vectors are cut to."""

    width: int
    modes: tuple[str, ...] = ("mean",)
    steps: tuple[nn.Module, ...] = ()

    @property
    def scales(self) -> bool:
        """Whether vectors end up with the length 1."""
        return bool(self.steps) and isinstance(self.steps[-1], Normalize)

    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Vectors [texts, width] of `hidden` [texts, tokens, width] padded right."""
        vectors = pool(hidden, mask, self.modes)
        for step in self.steps:
            vectors = step(vectors)
        # The reference cuts last, and leaves vectors shorter than 1 then.
        return vectors[:, : self.width]


def read_sentences(directory: Path, *, width: int, device: str) -> Sentences:
    """What the files say of token vectors of `width`; mean pooling without `modules.json`, as the reference does.

    Raises `UnloadableVersion` for modules that we do not run.
    """
    if not (directory / MODULES).exists():
        return Sentences(width=width)
    first, *rest = _read_modules(directory / MODULES)
    if _kind(first) != "Transformer" or first.get("path", "") != "":
        raise UnloadableVersion(f"{MODULES}: the first module must be the Transformer in the folder itself.")
    if not rest or _kind(rest[0]) != "Pooling":
        raise UnloadableVersion(f"{MODULES}: a {_kind(rest[0]) if rest else 'nameless'} module in place 1.")
    modes = read_modes(_folder(directory, rest[0]))
    size, steps = width * len(modes), []
    for place, module in enumerate(rest[1:], start=2):
        step, size = _read_step(directory, module, place=place, size=size, device=device)
        steps += step
    cut = _read_truncation(directory) or size
    return Sentences(width=min(size, cut), modes=modes, steps=tuple(steps))


def _read_step(
    directory: Path, module: Mapping[str, Any], *, place: int, size: int, device: str
) -> tuple[list[nn.Module], int]:
    """The module as steps, and the width of the vectors behind it."""
    kind = _kind(module)
    if kind == "Dropout":
        return [], size  # of training alone
    if kind == "Normalize":
        config = _folder(directory, module) / "config.json"
        _require_sentences(read_json(config) if config.exists() else {}, file=config)
        return [Normalize()], size
    if kind == "Dense":
        dense = _read_dense(_folder(directory, module), size=size, device=device)
        return [dense], dense.linear.out_features
    raise UnloadableVersion(f"{MODULES}: a {kind or 'nameless'} module in place {place}.")


def _read_dense(folder: Path, *, size: int, device: str) -> Dense:
    config, name = read_json(folder / "config.json"), f"{folder.name}/config.json"
    _require_sentences(config, file=folder / "config.json")
    width = config.get("out_features")
    if config.get("in_features") != size or type(width) is not int or not 1 <= width <= MAX_WIDTH:
        raise UnloadableVersion(f"{name}: in_features must be {size}, and out_features 1 to {MAX_WIDTH}.")
    with torch.device("meta"):
        blank = Dense(
            (size, width),
            bias=bool(config.get("bias", True)),
            activation=_read_activation(config, file=name),
            residual=bool(config.get("use_residual", False)),
        )
    return load_state(blank, [_weights(folder)], device)


def _weights(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise UnloadableVersion(f"{folder.name}/model.safetensors is missing.")
    return path


def _read_activation(config: Mapping[str, Any], *, file: str) -> nn.Module:
    named = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    kind = ACTIVATIONS.get(str(named).rpartition(".")[2])
    if kind is None or not str(named).startswith("torch.nn."):
        raise UnloadableVersion(f"{file}: activation_function {str(named)[:80]!r} is not supported.")
    return kind()


def _require_sentences(config: Mapping[str, Any], *, file: Path) -> None:
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in OF_SENTENCES:
            raise UnloadableVersion(f"{file.parent.name}/{file.name}: {key} must be 'sentence_embedding'.")


def _read_truncation(directory: Path) -> int | None:
    path = directory / SETTINGS
    value = read_json(path).get("truncate_dim") if path.exists() else None
    if value is not None and (type(value) is not int or value < 1):
        raise UnloadableVersion(f"{SETTINGS}: truncate_dim must be a whole number from 1.")
    return value


def _read_modules(path: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(path.read_bytes()[:MAX_JSON_BYTES])
    except (ValueError, RecursionError) as error:
        raise UnloadableVersion(f"{MODULES} is not valid JSON.") from error
    if not isinstance(modules, list) or not 1 <= len(modules) <= MAX_MODULES:
        raise UnloadableVersion(f"{MODULES} must be a list of 1 to {MAX_MODULES} modules.")
    if not all(isinstance(module, dict) for module in modules):
        raise UnloadableVersion(f"{MODULES} must be a list of modules.")
    return modules


def _kind(module: Mapping[str, Any]) -> str:
    return str(module.get("type", "")).rpartition(".")[2]


def _folder(directory: Path, module: Mapping[str, Any]) -> Path:
    name = str(module.get("path", ""))
    if not name or name != Path(name).name or name == "..":
        raise UnloadableVersion(f"{MODULES}: the {_kind(module)} module's path {name!r} is no folder here.")
    return directory / name
