"""AdamW with weight decay where it helps, Muon for matrices where asked, and one learning-rate curve."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

Kind = Literal["adamw", "muon"]


def build_optimisers(
    model: nn.Module, *, kind: Kind, learning_rate: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Optimisers that together hold every parameter once; `initial_lr` of a group is its peak rate.

    "muon" takes the hidden matrices with orthogonalised momentum (Jordan et al., 2024), which needs fewer
    tokens than AdamW; embeddings, norms and biases stay with AdamW. Vectors are never decayed.
    """
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices, others, vectors = [], [], []
    for parameter in model.parameters():
        if parameter.ndim < 2:
            vectors.append(parameter)
        elif kind == "muon" and parameter.ndim == 2 and id(parameter) not in tables:
            matrices.append(parameter)
        else:
            others.append(parameter)
    groups = [
        {"params": others, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=learning_rate, betas=(0.9, 0.98)
    )
    if not matrices:
        return _note_peaks([adam])
    # match_rms_adamw scales Muon's steps to AdamW's, so both share one learning rate.
    muon = torch.optim.Muon(
        matrices, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    return _note_peaks([adam, muon])


def _note_peaks(optimisers: list[torch.optim.Optimizer]) -> list[torch.optim.Optimizer]:
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


def scale_rates(optimisers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    """Set every learning rate to `factor` of its peak."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor


def warm_then_cosine(fraction: float, *, warmup: float, floor: float = 0.02) -> float:
    """The learning rate's factor at `fraction` (0 to 1) of a run: up in a line, then down a half cosine."""
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    rest = (fraction - warmup) / max(1 - warmup, 1e-9)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(rest, 1.0)))
