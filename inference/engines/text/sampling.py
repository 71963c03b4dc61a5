"""Choose the next token of every row of a batch, each by its own request's parameters.

Order of operations: logit bias, then repetition penalty (prompt and answer, as transformers: positive
logits are divided, negative multiplied), then frequency and presence penalties (answer only, as OpenAI),
then temperature, top_k and top_p (as transformers). Reported log-probabilities are the natural logarithm
of the model's own distribution, before any of these.

A row draws one uniform number per token from its own generator and inverts the distribution's cumulative
sum with it, so that a seed gives the same answer whoever shares the batch.

The host reads from the device once per step, at the end: all that is chosen and reported, in one tensor.
"""

import random
from collections.abc import Sequence as Items
from dataclasses import dataclass

import torch

from inference.engines.base import Sampling
from inference.engines.device import upload

CANDIDATES = 256
# In place of a token: the row has none, or its nucleus does not fit the candidates.
NONE, WIDE = -1, -2


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
        self._random = random.Random(sampling.seed)  # noqa: S311  (not for secrets)
        self._uniform: float | None = None
        self.is_greedy = sampling.temperature <= 0
        self.counts: torch.Tensor | None = None
        self.seen: torch.Tensor | None = None
        self.bias: torch.Tensor | None = None
        if sampling.frequency_penalty or sampling.presence_penalty:
            self.counts = torch.zeros(vocab_size, device=device)
        if sampling.repetition_penalty != 1.0:
            self.seen = torch.zeros(vocab_size, dtype=torch.bool, device=device)
            self.seen.index_fill_(0, upload(list(prompt_ids), device=device), True)
        if sampling.logit_bias:
            self.bias = torch.zeros(vocab_size, device=device)
            ids = upload(list(sampling.logit_bias), device=device)
            self.bias[ids] = upload(list(sampling.logit_bias.values()), dtype=torch.float32, device=device)

    @property
    def adjusts(self) -> bool:
        """Whether logits change before temperature."""
        return self.counts is not None or self.seen is not None or self.bias is not None

    @property
    def cuts(self) -> bool:
        """Whether some tokens can never be drawn."""
        return self.sampling.top_k > 0 or self.sampling.top_p < 1

    @property
    def uniform(self) -> float:
        """The number, 0 to 1, that draws the next token; the same until it is noted, however often tried."""
        if self._uniform is None:
            self._uniform = self._random.random()
        return self._uniform

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
        """Go on to the next token; remember this one for the penalties."""
        self._uniform = None
        if self.counts is not None:
            self.counts[token] += 1
        if self.seen is not None:
            self.seen[token].fill_(True)


def choose(logits: torch.Tensor, choosers: Items[Chooser], *, candidates: int = CANDIDATES) -> list[Choice]:
    """A token for each row of float32 logits [rows, vocab]. Does not `note` it.

    The likeliest `candidates` are looked at first; the few rows that want more are chosen once more from all.
    """
    adjusted = _adjust(logits, choosers)
    best, tokens = adjusted.max(dim=-1)
    sampled = [row for row, chooser in enumerate(choosers) if not chooser.is_greedy]
    if sampled:
        index = upload(sampled, device=logits.device)
        # A NaN row must not trip the others' sampling; it is refused below.
        rows = adjusted[index].nan_to_num(nan=0.0, posinf=0.0)
        tokens[index] = _sample(rows, [choosers[row] for row in sampled], candidates)
    # The best is NaN if any is, and not finite if none can be chosen.
    choices = _read(logits, torch.where(torch.isfinite(best), tokens, NONE), choosers)
    wide = [row for row, choice in enumerate(choices) if choice.token == WIDE]
    if wide:
        rows = logits[upload(wide, device=logits.device)]
        again = choose(rows, [choosers[row] for row in wide], candidates=logits.shape[1])
        for row, choice in zip(wide, again, strict=True):
            choices[row] = choice
    return choices


def _read(logits: torch.Tensor, tokens: torch.Tensor, choosers: Items[Chooser]) -> list[Choice]:
    """What was chosen, with the log-probabilities that were asked for: the step's one copy to the host."""
    asked = [row for row, chooser in enumerate(choosers) if chooser.sampling.logprobs is not None]
    if not asked:
        return [Choice(token if token != NONE else None) for token in tokens.tolist()]
    most = max(choosers[row].sampling.logprobs or 0 for row in asked)
    details = _logprobs(logits, tokens, asked, most=min(most, logits.shape[1]))
    # In float64 token ids and float32 numbers are both exact.
    numbers = torch.cat([tokens.double(), details.flatten()]).tolist()
    chosen, width = [int(number) for number in numbers[: len(choosers)]], details.shape[1]
    reports = {}
    for place, row in enumerate(asked):
        start = len(choosers) + place * width
        own, *rest = numbers[start : start + width]
        values, ids = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        top = tuple(zip(map(int, ids), values, strict=True))[: choosers[row].sampling.logprobs]
        reports[row] = Logprobs(own, top)
    return [Choice(token if token != NONE else None, reports.get(row)) for row, token in enumerate(chosen)]


def _adjust(logits: torch.Tensor, choosers: Items[Chooser]) -> torch.Tensor:
    rows = [row for row, chooser in enumerate(choosers) if chooser.adjusts]
    if not rows:
        return logits
    adjusted = logits.clone()
    for row in rows:
        adjusted[row] = choosers[row].adjust(logits[row])
    return adjusted


def _sample(logits: torch.Tensor, choosers: Items[Chooser], candidates: int) -> torch.Tensor:
    """Tokens [rows], or `WIDE`, drawn from logits [rows, vocab]."""
    device = logits.device
    parameters = upload(
        [[c.sampling.temperature, c.sampling.top_p, c.sampling.top_k, c.uniform] for c in choosers],
        dtype=torch.float64,
        device=device,
    )
    scaled = logits / parameters[:, 0].float().clamp_min(1e-5)[:, None]
    cut = [row for row, chooser in enumerate(choosers) if chooser.cuts]
    whole = [row for row, chooser in enumerate(choosers) if not chooser.cuts]
    wanted = max([candidates, *(choosers[row].sampling.top_k for row in cut)])
    if not cut:
        return _sample_whole(scaled, parameters)
    if not whole:
        return _sample_cut(scaled, parameters, wanted)
    # Apart, so that only those that need it are sorted.
    tokens = torch.empty(len(choosers), dtype=torch.long, device=device)
    at = upload(whole, device=device)
    tokens[at] = _sample_whole(scaled[at], parameters[at])
    at = upload(cut, device=device)
    tokens[at] = _sample_cut(scaled[at], parameters[at], wanted)
    return tokens


def _sample_whole(scaled: torch.Tensor, parameters: torch.Tensor) -> torch.Tensor:
    return _invert(scaled.softmax(-1), parameters[:, 3])


def _sample_cut(scaled: torch.Tensor, parameters: torch.Tensor, wanted: int) -> torch.Tensor:
    """Sorting a whole vocabulary is slow, and the nucleus is nearly always within a few hundred."""
    _, top_p, top_k, uniform = parameters.unbind(1)
    vocab = scaled.shape[-1]
    best, ids = scaled.softmax(-1).topk(min(vocab, wanted), dim=-1)
    tokens = ids.gather(1, _invert(_cut(best, top_k, top_p), uniform)[:, None])[:, 0]
    if best.shape[1] == vocab:
        return tokens
    is_wide = (top_k == 0) & (best.double().sum(-1) <= top_p)
    return torch.where(is_wide, WIDE, tokens)


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


def _logprobs(logits: torch.Tensor, tokens: torch.Tensor, asked: list[int], *, most: int) -> torch.Tensor:
    """For each row asked for: its token's log-probability, the `most` best of all, and their ids. float64."""
    index = upload(asked, device=logits.device)
    distribution = logits[index].log_softmax(-1)
    own = distribution.gather(1, tokens[index].clamp_min(0)[:, None])
    values, ids = distribution.topk(most, dim=-1)
    return torch.cat([own.double(), values.double(), ids.double()], dim=1)
