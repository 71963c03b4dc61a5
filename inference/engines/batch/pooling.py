"""From token vectors to one vector per text, as a sentence-transformers directory describes it.

The modes and the order in which several are joined are those of `sentence_transformers`' Pooling module.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from inference.engines.base import UnloadableVersion
from inference.engines.checkpoint import MAX_JSON_BYTES, read_json

LEGACY_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODES = frozenset(LEGACY_FLAGS.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooling:
    """How to pool (`modes`, joined side by side) and whether vectors are scaled to length 1."""

    modes: tuple[str, ...] = ("mean",)
    normalize: bool = False


def read_pooling(directory: Path) -> Pooling:
    """What `modules.json` says; without one, mean pooling and no scaling, as sentence-transformers does.

    Raises `UnloadableVersion` for modules other than Transformer, Pooling and Normalize.
    """
    if not (directory / "modules.json").exists():
        return Pooling()
    modes: tuple[str, ...] | None = None
    normalize = False
    for position, module in enumerate(_read_modules(directory / "modules.json")):
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling" and modes is None:
            modes = _read_modes(directory, str(module.get("path", "")))
        elif kind == "Normalize" and modes is not None:
            normalize = True
        elif kind != "Transformer" or position != 0:
            raise UnloadableVersion(f"modules.json: a {kind or 'nameless'} module in place {position}.")
    return Pooling(modes=modes or ("mean",), normalize=normalize)


def _read_modules(path: Path) -> list[dict[str, Any]]:
    try:
        modules = json.loads(path.read_bytes()[:MAX_JSON_BYTES])
    except (ValueError, RecursionError) as error:
        raise UnloadableVersion("modules.json is not valid JSON.") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise UnloadableVersion("modules.json must be a list of modules.")
    return modules


def _read_modes(directory: Path, folder: str) -> tuple[str, ...]:
    if not folder or folder != Path(folder).name or folder == "..":
        raise UnloadableVersion(f"modules.json: the Pooling module's path {folder!r} is no folder here.")
    config = read_json(directory / folder / "config.json")
    named = config.get("pooling_mode")
    if named is None:
        modes = tuple(mode for flag, mode in LEGACY_FLAGS.items() if config.get(flag)) or ("mean",)
    else:
        modes = (named,) if isinstance(named, str) else tuple(named)
    if unknown := sorted(set(map(str, modes)) - MODES):
        raise UnloadableVersion(f"{folder}/config.json: unknown pooling mode {unknown[0]!r}.")
    return modes


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """One vector per text, [texts, modes x width], of `hidden` [texts, tokens, width] padded right."""
    vectors = torch.cat([_pool(hidden, mask, mode) for mode in pooling.modes], dim=-1)
    return torch.nn.functional.normalize(vectors, dim=-1) if pooling.normalize else vectors


def _pool(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    if mode == "cls":
        return hidden[:, 0]
    count = mask.sum(dim=1, keepdim=True)
    if mode == "lasttoken":
        return hidden[torch.arange(len(hidden), device=hidden.device), count.squeeze(1) - 1]
    wide = mask.unsqueeze(-1)
    if mode == "max":
        return hidden.masked_fill(wide == 0, float("-inf")).amax(dim=1)
    if mode == "weightedmean":
        positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        weights = (mask * positions).to(hidden.dtype)
        return (hidden * weights.unsqueeze(-1)).sum(dim=1) / weights.sum(dim=1, keepdim=True)
    total = (hidden * wide.to(hidden.dtype)).sum(dim=1)
    return total / (count if mode == "mean" else count.sqrt())
