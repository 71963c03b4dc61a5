"""From token vectors to one vector per text, in the modes that sentence-transformers has.

The modes and the order in which several are joined are those of `sentence_transformers`' Pooling module.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from inference.engines.base import UnloadableVersion
from inference.engines.checkpoint import read_json

LEGACY_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
MODES = frozenset(LEGACY_FLAGS.values())


def read_modes(folder: Path) -> tuple[str, ...]:
    """The modes that the config.json in a Pooling module's folder names. Raises `UnloadableVersion`."""
    config = read_json(folder / "config.json")
    named = config.get("pooling_mode")
    if named is None:
        modes = tuple(mode for flag, mode in LEGACY_FLAGS.items() if config.get(flag)) or ("mean",)
    else:
        modes = (named,) if isinstance(named, str) else tuple(named)
    if unknown := sorted(set(map(str, modes)) - MODES):
        raise UnloadableVersion(f"{folder.name}/config.json: unknown pooling mode {unknown[0]!r}.")
    return modes


def pool(hidden: torch.Tensor, mask: torch.Tensor, modes: Sequence[str]) -> torch.Tensor:
    """One vector per text, [texts, modes x width], of `hidden` [texts, tokens, width] padded right."""
    return torch.cat([_pool(hidden, mask, mode) for mode in modes], dim=-1)


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
