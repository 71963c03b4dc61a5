"""A server is paid by what it reports, so a report counts as far as the text that it sent bears it out."""

from typing import Any

import pytest

from inference.gateway.remote.counting import Bounds, Count, Counted

# A prompt of about 30 bytes, an answer of at most 1,000 tokens.
BOUNDS = Bounds(
    worst={"input_tokens": 100, "cached_tokens": 100, "output_tokens": 1000},
    usual_input=20, likely_input=80, least_input=1, unreturned=8, text_bytes=128_000,
)  # fmt: skip
ENGLISH = "The quick brown fox jumps over the lazy dog. "


def usage(prompt: Any = 12, completion: Any = 3, *, cached: Any = 0, reasoning: Any = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": 10**9,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }  # fmt: skip


def settled(text: str, reported: Any, *, reasoning: str = "", hidden: int = 0) -> Counted:
    count = Count()
    count.add(text, reasoning)
    count.note(reported)
    bounds = {name: getattr(BOUNDS, name) for name in BOUNDS.__slots__}
    return count.settle(Bounds(**bounds | {"hidden_reasoning": hidden}))


def output(counted: Counted) -> tuple[int, bool, bool]:
    """Units, whether they are estimated, whether their earnings are held."""
    return counted.quantities["output_tokens"], counted.is_estimated, counted.is_held


@pytest.mark.parametrize(
    ("text", "tokens"),
    [(ENGLISH, 10), (ENGLISH * 20, 200), ("敏捷的棕色狐狸跳过懒狗。", 16), ("съешь ещё этих мягких булок", 14),
     ("hi there", 2), ("hi there", 8), ("}{)(" * 20, 40)],
)  # fmt: skip
def test_what_texts_of_many_kinds_really_take_is_billed_as_it_is_reported(text: str, tokens: int) -> None:
    counted = settled(text, usage(completion=tokens))
    assert output(counted) == (tokens, False, False)
    assert counted.report is None


def test_an_answer_without_any_text_puts_nothing_out() -> None:
    assert output(settled("", usage(completion=8))) == (0, False, False)
    assert output(settled("", usage(completion=800))) == (0, False, True)
    assert output(settled("", usage(completion=800, reasoning=800), hidden=900)) == (800, False, False)


def test_a_report_that_no_tokenizer_can_come_to_is_replaced_and_held() -> None:
    counted = settled("hi there", usage(completion=90_000))
    assert output(counted) == (2, True, True)
    assert counted.report is not None
    assert (counted.report["output"], counted.report["cut"]) == (90_000, False)


def test_a_report_at_the_edge_of_what_can_be_is_billed_and_held() -> None:
    assert output(settled("1234567890" * 10, usage(completion=100))) == (100, False, True)
    assert output(settled("1234567890" * 10, usage(completion=109))) == (25, True, True)


@pytest.mark.parametrize(("prompt", "billed", "is_estimated", "is_held"), [
    (12, 12, False, False), (80, 80, False, False), (81, 81, False, True), (101, 20, True, True), (0, 20, True, False),
])  # fmt: skip
def test_the_prompt_is_bounded_by_what_was_sent(
    prompt: int, billed: int, is_estimated: bool, is_held: bool
) -> None:
    counted = settled("hi there", usage(prompt))
    found = (counted.quantities["input_tokens"], counted.is_estimated, counted.is_held)
    assert found == (billed, is_estimated, is_held)


@pytest.mark.parametrize("number", [1e30, 1e3, -1, "7", True, None, float("nan"), [7], {}, 2**53])
def test_what_is_no_number_of_tokens_is_no_report(number: Any) -> None:
    counted = settled(ENGLISH, usage(number, number, cached=number, reasoning=number))
    assert counted.quantities == {"input_tokens": 20, "output_tokens": 12, "cached_tokens": 0}
    assert (counted.is_estimated, counted.is_held, counted.reasoning) == (True, False, 0)


def test_never_more_was_cached_than_the_prompt_has() -> None:
    assert settled("hi", usage(12, 1, cached=50)).quantities["cached_tokens"] == 12
    assert settled("hi", usage(10**6, 1, cached=50)).quantities["cached_tokens"] == 0


def test_the_last_report_counts_and_text_behind_it_is_added() -> None:
    count = Count()
    count.note(usage(12, 0))
    count.add(ENGLISH)
    assert output(count.settle(BOUNDS)) == (12, True, False)
    count.note(usage(12, 9))
    assert output(count.settle(BOUNDS)) == (9, False, False)
    count.add("more")
    assert output(count.settle(BOUNDS)) == (10, True, False)
    count.note({})
    count.note({"prompt_tokens": None, "completion_tokens": "x"})
    assert output(count.settle(BOUNDS)) == (10, True, False)


def test_text_in_pieces_of_a_byte_costs_no_more_than_text_can() -> None:
    count = Count()
    for byte in ENGLISH:
        count.add(byte)
    assert output(count.settle(BOUNDS)) == (30, True, False)


def test_reasoning_that_is_shown_is_text_like_any_other() -> None:
    counted = settled("hi there", usage(completion=22, reasoning=20), reasoning=ENGLISH * 2)
    assert output(counted) == (22, False, False)
    assert (counted.reasoning, counted.report) == (20, None)


@pytest.mark.parametrize(("hidden", "billed", "unseen", "is_held"), [
    (0, 2, 0, True), (100, 102, 100, True), (500, 503, 500, False), (900, 503, 500, False),
])  # fmt: skip
def test_reasoning_that_is_not_shown_is_billed_up_to_what_was_declared(
    hidden: int, billed: int, unseen: int, is_held: bool
) -> None:
    counted = settled("hi there", usage(completion=503, reasoning=500), hidden=hidden)
    assert output(counted) == (billed, billed != 503, is_held)
    assert counted.reasoning == unseen
    assert counted.report is not None
    assert (counted.report["unseen"], counted.report["reasoning"]) == (unseen, 500)


def test_declared_reasoning_covers_nothing_but_what_is_reported_as_such() -> None:
    assert output(settled("hi there", usage(completion=503), hidden=900)) == (2, True, True)
