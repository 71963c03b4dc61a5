"""Choose the next token of every row of a batch, each by its own request's parameters.

Order of operations: logit bias, then repetition penalty (prompt and answer, as transformers: positive
logits are divided, negative multiplied), then frequency and presence penalties (answer only, as OpenAI),
then temperature, top_k and top_p (as transformers). Reported log-probabilities are the natural logarithm
of the model's own distribution, before any of these.

A row draws one uniform number per token from its own generator and inverts the distribution's cumulative
sum with it, so that a seed gives the same answer whoever shares the batch.
"""

import random
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from inference.engines.base import Sampling

CANDIDATES = 256


@dataclass(frozen=True, slots=True)
class Logprobs:
    """A chosen token's log-probability and the likeliest alternatives, best first."""

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """A row's next token, or `token` None where its logits were not finite."""

    token: int | None
    logprobs: Logprobs | None = None


class Chooser:
    """One request's sampling state: its generator and what it has said so far."""

    def __init__(self, sampling: Sampling, prompt_ids: Items[int], *, vocab_size: int, device: str) -> None:
        self.sampling = sampling
        self.random = random.Random(sampling.seed)  # noqa: S311  (not for secrets)
        self.is_greedy = sampling.temperature <= 0
        self.counts: torch.Tensor | None = None
        self.seen: torch.Tensor | None = None
        self.bias: torch.Tensor | None = None
        if sampling.frequency_penalty or sampling.presence_penalty:
            self.counts = torch.zeros(vocab_size, device=device)
        if sampling.repetition_penalty != 1.0:
            self.seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            self.seen[torch.tensor(list(prompt_ids), device=device)] = True
        if sampling.logit_bias:
            self.bias = torch.zeros(vocab_size, device=device)
            ids = torch.tensor(list(sampling.logit_bias), device=device)
            values = torch.tensor(list(sampling.logit_bias.values()), dtype=torch.float32, device=device)
            self.bias[ids] = values

    @property
    def adjusts(self) -> bool:
        """Whether logits change before temperature."""
        return self.counts is not None or self.seen is not None or self.bias is not None

    def adjust(self, logits: torch.Tensor) -> torch.Tensor:
        """Bias and penalties on one row of logits [vocab]; a new tensor."""
        if self.bias is not None:
            logits = logits + self.bias
        if self.seen is not None:
            penalty = self.sampling.repetition_penalty
            penalised = torch.where(logits < 0, logits * penalty, logits / penalty)
            logits = torch.where(self.seen, penalised, logits)
        if self.counts is not None:
            logits = logits - self.counts * self.sampling.frequency_penalty
            logits = logits - (self.counts > 0) * self.sampling.presence_penalty
        return logits

    def note(self, token: int) -> None:
        """Remember a sampled token for the penalties."""
        if self.counts is not None:
            self.counts[token] += 1
        if self.seen is not None:
            self.seen[token] = True


def choose(logits: torch.Tensor, choosers: Items[Chooser]) -> list[Choice]:
    """A token for each row of float32 logits [rows, vocab]. Does not `note` it. One transfer to the host."""
    adjusted = _adjust(logits, choosers)
    best, tokens = adjusted.max(dim=-1)
    sampled = [row for row, chooser in enumerate(choosers) if not chooser.is_greedy]
    if sampled:
        index = torch.tensor(sampled, device=logits.device)
        # A NaN row must not trip the others' sampling; it is refused below.
        rows = adjusted[index].nan_to_num(nan=0.0, posinf=0.0)
        tokens[index] = _sample(rows, [choosers[row] for row in sampled])
    # The best is NaN if any is, and not finite if none can be chosen.
    chosen = torch.where(torch.isfinite(best), tokens, -1)
    asked = [row for row, chooser in enumerate(choosers) if chooser.sampling.logprobs is not None]
    details = _logprobs(logits, chosen, choosers, asked) if asked else {}
    return [
        Choice(token if token >= 0 else None, details.get(row)) for row, token in enumerate(chosen.tolist())
    ]


def _adjust(logits: torch.Tensor, choosers: Items[Chooser]) -> torch.Tensor:
    rows = [row for row, chooser in enumerate(choosers) if chooser.adjusts]
    if not rows:
        return logits
    adjusted = logits.clone()
    for row in rows:
        adjusted[row] = choosers[row].adjust(logits[row])
    return adjusted


def _sample(logits: torch.Tensor, choosers: Items[Chooser]) -> torch.Tensor:
    """Tokens [rows] drawn from logits [rows, vocab]."""
    device = logits.device
    parameters = torch.tensor(
        [[c.sampling.temperature, c.sampling.top_p, c.sampling.top_k, c.random.random()] for c in choosers],
        dtype=torch.float64,
        device=device,
    )
    temperature, top_p, top_k, uniform = parameters.unbind(1)
    scaled = logits / temperature.float().clamp_min(1e-5)[:, None]
    cut = [c.sampling.top_k > 0 or c.sampling.top_p < 1 for c in choosers]
    if not any(cut):
        return _invert(scaled.softmax(-1), uniform)
    if not all(cut):
        return _sample_apart(scaled, choosers, parameters, cut)
    probabilities, ids = _most_likely(scaled, choosers)
    return ids.gather(1, _invert(_cut(probabilities, top_k, top_p), uniform)[:, None])[:, 0]


def _sample_apart(
    scaled: torch.Tensor, choosers: Items[Chooser], parameters: torch.Tensor, cut: list[bool]
) -> torch.Tensor:
    """Rows with and without top_k or top_p, so that only those that need it are sorted."""
    tokens = torch.empty(len(cut), dtype=torch.long, device=scaled.device)
    _, top_p, top_k, uniform = parameters.unbind(1)
    mask = torch.tensor(cut, device=scaled.device)
    tokens[~mask] = _invert(scaled[~mask].softmax(-1), uniform[~mask])
    limited = [chooser for chooser, is_cut in zip(choosers, cut, strict=True) if is_cut]
    probabilities, ids = _most_likely(scaled[mask], limited)
    places = _invert(_cut(probabilities, top_k[mask], top_p[mask]), uniform[mask])
    tokens[mask] = ids.gather(1, places[:, None])[:, 0]
    return tokens


def _most_likely(scaled: torch.Tensor, choosers: Items[Chooser]) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, descending, and their ids [rows, kept], with all that top_k and top_p can keep.

    Sorting a whole vocabulary is slow on a CPU, and the nucleus is nearly always within a few hundred.
    """
    vocab = scaled.shape[-1]
    wanted = max((c.sampling.top_k or CANDIDATES for c in choosers), default=CANDIDATES)
    probabilities = scaled.softmax(-1)
    best, ids = probabilities.topk(min(vocab, max(wanted, 1)), dim=-1)
    open_ended = torch.tensor(
        [c.sampling.top_p if not c.sampling.top_k else 0.0 for c in choosers], device=scaled.device
    )
    if best.shape[1] < vocab and bool((best.sum(-1) <= open_ended).any()):
        best, ids = probabilities.sort(dim=-1, descending=True)
    return best, ids


def _cut(probabilities: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Zero what is beyond the first top_k, then beyond the smallest nucleus that reaches top_p."""
    places = torch.arange(probabilities.shape[1], device=probabilities.device)
    unlimited = torch.full_like(top_k, probabilities.shape[1])
    kept = probabilities * (places < torch.where(top_k > 0, top_k, unlimited)[:, None])
    # top_p is a share of what top_k kept, or else of everything, of which only the likeliest are here.
    whole = torch.where(top_k > 0, kept.double().sum(-1), 1.0)
    share = kept.double().cumsum(-1) / whole[:, None]
    before = torch.cat([torch.zeros_like(share[:, :1]), share[:, :-1]], dim=1)
    # The likeliest token always stays, whatever top_p is.
    within = (before < top_p[:, None]) | (places == 0)
    return kept * torch.where((top_p >= 1)[:, None], torch.ones_like(within), within)


def _invert(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The place [rows] in each row of weights [rows, n] where the cumulative share passes `uniform`."""
    totals = weights.double().cumsum(-1)
    targets = (uniform * totals[:, -1])[:, None]
    return torch.searchsorted(totals, targets, right=True)[:, 0].clamp_max(weights.shape[1] - 1)


def _logprobs(
    logits: torch.Tensor, chosen: torch.Tensor, choosers: Items[Chooser], asked: list[int]
) -> dict[int, Logprobs]:
    index = torch.tensor(asked, device=logits.device)
    distribution = logits[index].log_softmax(-1)
    own = distribution.gather(1, chosen[index].clamp_min(0)[:, None])
    most = max(choosers[row].sampling.logprobs or 0 for row in asked)
    values, ids = distribution.topk(min(most, distribution.shape[1]), dim=-1)
    result = {}
    for row, logprob, top_values, top_ids in zip(
        asked, own[:, 0].tolist(), values.tolist(), ids.tolist(), strict=True
    ):
        count = choosers[row].sampling.logprobs or 0
        result[row] = Logprobs(logprob, tuple(zip(top_ids[:count], top_values[:count], strict=True)))
    return result
