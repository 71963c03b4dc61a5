"""Measures of quality from counts, each with its definition."""

import math

import torch


def count_confusions(targets: torch.Tensor, predictions: torch.Tensor, *, classes: int) -> torch.Tensor:
    """Confusion matrix [classes, classes]: rows are true classes, columns what was predicted."""
    pairs = targets * classes + predictions
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusions: torch.Tensor) -> float:
    """The share of right answers."""
    return float(confusions.diagonal().sum() / confusions.sum())


def macro_precision(confusions: torch.Tensor) -> float:
    """The mean over classes of right answers per prediction of that class; 0 for one never predicted."""
    return _mean_share(confusions, confusions.sum(dim=0))


def macro_recall(confusions: torch.Tensor) -> float:
    """The mean over classes of right answers per true member; 0 for a class without members."""
    return _mean_share(confusions, confusions.sum(dim=1))


def _mean_share(confusions: torch.Tensor, totals: torch.Tensor) -> float:
    return float((confusions.diagonal() / totals.clamp(min=1)).mean())


def perplexity(mean_loss: float) -> float:
    """e to the mean negative log-likelihood (nats per token); infinite where that overflows."""
    return math.exp(mean_loss) if mean_loss < 700 else math.inf
