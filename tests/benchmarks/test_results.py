"""Rows say whether their goal was met, and ratios favour us above 1 whichever way is better."""

import pytest

from benchmarks.results import Goal, at_least, at_most, row, times


@pytest.mark.parametrize(
    ("value", "goal", "met"),
    [(40, at_least(40), True), (39.9, at_least(40), False), (1, at_most(1), True), (1.1, at_most(1), False)],
)
def test_a_bound_on_the_value(value: float, goal: Goal, met: bool) -> None:
    assert row("x", value, "s", command="c", goal=goal)["met"] is met


def test_a_lower_figure_is_the_better_latency() -> None:
    line = row("x", 2.0, "ms", command="c", peer="other", peer_value=8.0, better="lower", goal=times(4))
    assert (line["ratio"], line["goal"], line["met"]) == (4.0, "ratio >= 4", True)


def test_a_ratio_without_a_peer_meets_nothing() -> None:
    assert row("x", 2.0, "ms", command="c", goal=times(4))["met"] is False


def test_a_row_without_a_goal_claims_nothing() -> None:
    line = row("x", 2.0, "ms", command="c")
    assert line["goal"] is line["met"] is line["ratio"] is None
