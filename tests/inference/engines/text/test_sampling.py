"""Tokens are chosen as OpenAI and transformers define it, row by row, whoever else is in the batch."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from inference.engines.base import Sampling
from inference.engines.text.detokenizer import TokenBytes
from inference.engines.text.sampling import Chooser, choose
from tests.inference.engines.text.conftest import Start
from tests.inference.engines.text.models import Collector, answer, ask, continue_greedily, reference

Make = Callable[..., Chooser]


@pytest.fixture
def chooser(device: str) -> Make:
    def make(vocab: int, prompt: tuple[int, ...] = (0,), **parameters: Any) -> Chooser:
        return Chooser(Sampling(max_tokens=9, **parameters), prompt, vocab_size=vocab, device=device)

    return make


@pytest.fixture
def choose_one(device: str) -> Callable[..., int | None]:
    return lambda logits, who: choose(torch.tensor([logits], device=device), [who])[0].token


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_p": 0.6},
        {"temperature": 1.5, "top_k": 40, "top_p": 0.9},
        {"top_p": 0.999, "temperature": 3.0},  # a nucleus wider than the candidates looked at first
    ],
)
def test_draws_follow_the_distribution_of_transformers_warpers(
    parameters: dict[str, Any], chooser: Make, device: str
) -> None:
    torch.manual_seed(1)
    draws, vocab = 4000, 600
    logits = torch.randn(1, vocab) * 2
    scores = TemperatureLogitsWarper(parameters.get("temperature", 1.0))(None, logits)
    if "top_k" in parameters:
        scores = TopKLogitsWarper(parameters["top_k"])(None, scores)
    if "top_p" in parameters:
        scores = TopPLogitsWarper(parameters["top_p"])(None, scores)
    expected = scores.softmax(-1)[0]
    rows = [chooser(vocab, seed=seed, **parameters) for seed in range(draws)]
    drawn = Counter(choice.token for choice in choose(logits.to(device).expand(draws, -1), rows))
    assert all(expected[token] > 0 for token in drawn)
    assert {token for token in range(vocab) if expected[token] * draws > 12} <= set(drawn)
    for token in expected.topk(5).indices.tolist():
        share = float(expected[token])
        tolerance = 4 * math.sqrt(share * (1 - share) / draws)
        assert drawn[token] / draws == pytest.approx(share, abs=tolerance)


def test_rows_of_all_kinds_share_a_batch_without_touching_each_other(chooser: Make, device: str) -> None:
    torch.manual_seed(2)
    logits = torch.randn(6, 50).to(device)
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"seed": 1},
        {"seed": 2, "top_p": 0.5},
        {"seed": 3, "top_k": 3},
        {"temperature": 0.0, "logit_bias": {7: 100.0}},
        {"seed": 4, "repetition_penalty": 1.3, "temperature": 0.5},
    ]
    together = choose(logits, [chooser(50, **kind) for kind in kinds])
    apart = [choose(logits[i : i + 1], [chooser(50, **kind)])[0] for i, kind in enumerate(kinds)]
    assert together == apart
    assert together[0].token == int(logits[0].argmax())
    assert together[4].token == 7


def test_a_row_of_nan_has_no_token_and_the_others_have_theirs(chooser: Make, device: str) -> None:
    logits = torch.zeros(4, 8, device=device)
    logits[:, 3] = 5
    logits[1, 2] = math.nan
    logits[2] = -math.inf
    choices = choose(logits, [chooser(8, temperature=0.0), chooser(8), chooser(8), chooser(8, top_k=1)])
    assert [choice.token for choice in choices] == [3, None, None, 3]


def test_frequency_and_presence_penalties_count_the_answer_only(
    chooser: Make, choose_one: Callable[..., int | None]
) -> None:
    who = chooser(3, (0, 0, 0), temperature=0.0, frequency_penalty=0.4, presence_penalty=0.5)
    assert choose_one([1.0, 0.0, -1.0], who) == 0  # the prompt's tokens weigh nothing
    who.note(0)
    assert choose_one([1.0, 0.0, -1.0], who) == 0  # 1.0 - 0.4 - 0.5 = 0.1
    who.note(0)
    assert choose_one([1.0, 0.0, -1.0], who) == 1  # 1.0 - 0.8 - 0.5 = -0.3


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits(
    chooser: Make, device: str
) -> None:
    who = chooser(4, (0, 1), temperature=0.0, repetition_penalty=2.0)
    assert who.adjust(torch.tensor([3.0, -1.0, 2.0, -2.0], device=device)).tolist() == [1.5, -2.0, 2.0, -2.0]
    who.note(2)
    assert who.adjust(torch.tensor([3.0, -1.0, 2.0, -2.0], device=device)).tolist() == [1.5, -2.0, 1.0, -2.0]


def test_logprobs_are_natural_logarithms_of_the_models_own_distribution(chooser: Make, device: str) -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], device=device)
    rows = [
        chooser(3, temperature=0.0, logprobs=2, logit_bias={2: 50.0}),
        chooser(3, temperature=0.0, logprobs=0),
    ]
    first, second = choose(logits, rows)
    distribution = logits.log_softmax(-1)
    assert first.token == 2
    assert first.logprobs is not None
    assert first.logprobs.logprob == pytest.approx(float(distribution[0, 2]))
    assert [token for token, _ in first.logprobs.top] == [0, 1]
    assert second.logprobs is not None
    assert second.logprobs.logprob == pytest.approx(float(distribution[1, 1]))
    assert second.logprobs.top == ()


def test_a_seed_gives_one_answer_in_any_company(llama: Path, start: Start, sink: Collector) -> None:
    engine = start(llama)
    options: dict[str, Any] = {"temperature": 1.2, "seed": 7, "max_tokens": 40, "top_p": 0.95}
    alone = answer(engine, sink, [ask("alone", [9, 8, 7], **options)])["alone"]
    others = [ask(f"other{i}", [i + 1] * (3 * i + 1), temperature=1.0, max_tokens=30) for i in range(9)]
    answer(engine, sink, [*others[:4], ask("among", [9, 8, 7], **options), *others[4:]])
    answer(engine, sink, [ask("unlike", [9, 8, 7], **options | {"seed": 8})])
    assert sink.text("among") == alone
    assert sink.text("unlike") != alone


def test_repetition_penalty_equals_generate(llama: Path, device: str, start: Start, sink: Collector) -> None:
    prompt = [5, 6, 7, 8, 9]
    said = continue_greedily(reference(llama, device=device), prompt, count=20, repetition_penalty=1.8)
    table = TokenBytes(llama)
    answer(start(llama), sink, [ask("a", prompt, max_tokens=20, repetition_penalty=1.8, logprobs=0)])
    assert sink.pieces("a") == [tuple(table.raw(token)) for token in said]


def test_reported_logprobs_are_those_of_the_reference_model(
    llama: Path, device: str, start: Start, sink: Collector
) -> None:
    prompt = [5, 6, 7]
    model = reference(llama, device=device)
    said = continue_greedily(model, prompt, count=6)
    with torch.no_grad():
        distribution = model(torch.tensor([prompt + said], device=device)).logits[0].log_softmax(-1)
    answer(start(llama), sink, [ask("a", prompt, max_tokens=6, logprobs=3)])
    entries = [entry for chunk in sink.chunks["a"] for entry in chunk.logprobs]
    assert len(entries) == 6
    for place, entry in enumerate(entries):
        row = distribution[len(prompt) - 1 + place]
        assert entry.logprob == pytest.approx(float(row[said[place]]), abs=1e-4)
        assert [top.logprob for top in entry.top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-4)
        assert entry.token == bytes(entry.bytes).decode("utf-8", "replace")
