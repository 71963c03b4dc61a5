"""R(q) telescopes in any order and grouping, and Redis computes the same integers as Python."""

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing import rating
from billing.credit.scripting import text
from billing.rating import EXACT_LIMIT, Price
from portal.kit import redis

PRICES = st.builds(
    Price,
    included=st.integers(0, 10**15),
    amount=st.integers(0, 10**15),
    per=st.one_of(st.integers(1, 10**7), st.integers(1, 10**15)),
)
UNITS = st.one_of(st.integers(0, 10**6), st.integers(0, 10**12), st.integers(0, 10**15))


@given(PRICES, st.lists(UNITS, max_size=12), st.integers(0))
def test_charges_sum_to_the_total_in_any_order_and_grouping(
    price: Price, calls: list[int], seed: int
) -> None:
    random.Random(seed).shuffle(calls)
    position = charged = 0
    for units in calls:
        charged += rating.charge(price, already=position, more=units)
        position += units
    assert charged == rating.cumulative(price, sum(calls))


@given(PRICES, UNITS, UNITS)
def test_more_units_never_cost_less(price: Price, already: int, more: int) -> None:
    assert rating.charge(price, already=already, more=more) >= 0


def test_a_hard_stop_prices_nothing() -> None:
    assert rating.cumulative(Price(10, None), 10**9) == 0


@given(st.lists(st.integers(0, 10**12), max_size=20), st.integers(0, 10_000), st.integers(0, 10**12))
def test_a_commission_never_exceeds_the_charge_that_it_is_of(
    charges: list[int], points: int, already: int
) -> None:
    for charge in charges:
        before, already = already, already + charge
        part = rating.share(already, basis_points=points) - rating.share(before, basis_points=points)
        assert 0 <= part <= charge


@given(PRICES, UNITS, UNITS, st.integers(0, 10**15))
def test_no_units_ever_cost_more_than_their_bound(
    price: Price, already: int, units: int, unused: int
) -> None:
    used = max(0, units - unused)
    assert rating.charge(price, already=already, more=used) <= rating.most(price, units)


@given(PRICES, st.integers(0, 10**6))
def test_the_bound_is_reached_somewhere(price: Price, units: int) -> None:
    if price.amount is None:
        return
    # R begins to rise at `included`, and its fraction takes every multiple of gcd(amount, per).
    places = (price.included + before for before in range(200))
    dearest = max(rating.charge(price, already=place, more=units) for place in places)
    assert rating.most(price, units) - 1 <= dearest <= rating.most(price, units)


REDIS_R = (
    text("admission").split("-- How a lease looks")[0]
    + """
local answers = {}
for at = 1, #ARGV, 4 do
  answers[#answers + 1] = string.format('%.0f', cumulative(tonumber(ARGV[at]), tonumber(ARGV[at + 1]),
    tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])))
  answers[#answers + 1] = string.format('%.0f', most(tonumber(ARGV[at]), tonumber(ARGV[at + 2]),
    tonumber(ARGV[at + 3])))
end
return answers
"""
)


def in_redis(cases: Sequence[tuple[Price, int]]) -> list[int]:
    args: list[Any] = []
    for price, units in cases:
        args += [units, price.included, "" if price.amount is None else price.amount, price.per]
    return [int(answer) for answer in redis.client().eval(REDIS_R, 0, *args)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(PRICES, UNITS), min_size=1, max_size=40))
@example([(Price(0, 10**9, 10**6), 10**12), (Price(0, 10**9, 10**7), 10**12 - 1), (Price(7, None), 9)])
@example([(Price(0, 10**15 - 1, 10**15), 10**15 - 1), (Price(1, 999_999_937, 999_983), 999_999_999_989)])
@example([(Price(0, 94906267, 94906266), 94906265), (Price(0, 3, 2**53 - 1), 2**53 - 2)])
def test_redis_rates_like_python_and_saturates_at_two_to_the_53(cases: list[tuple[Price, int]]) -> None:
    rated = [(rating.cumulative(price, units), rating.most(price, units)) for price, units in cases]
    assert in_redis(cases) == [min(amount, EXACT_LIMIT) for pair in rated for amount in pair]


@pytest.mark.parametrize("units", [0, 1, 999, 1000, 1001, 10**12])
def test_fifteen_cents_per_thousand(units: int) -> None:
    assert rating.cumulative(Price(0, 15_000_000, 1000), units) == units * 15_000
