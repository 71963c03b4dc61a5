"""What units cost. Pure, exact integer arithmetic: no model, no float, no clock.

Telescoping: a component has one monotone function R(q) of the period's cumulative units q, rounded down
once. d more units after q cost R(q + d) - R(q), so charges sum to R of the total in any order or grouping.
`billing/credit/scripts/rating.lua` is the same function in Redis; tests hold the two together.
"""

from dataclasses import dataclass

# Charges and units in Redis are exact up to here. No spend cap comes near: this is 90 million dollars.
EXACT_LIMIT = 2**53


@dataclass(frozen=True, slots=True)
class Price:
    """The first `included` units cost nothing, the rest `amount` micro-minor units per `per` units.

    `amount` None prices nothing: calls stop when the included units are used up.
    """

    included: int
    amount: int | None
    per: int = 1


def cumulative(price: Price, units: int) -> int:
    """R(q): what `units` since the period's start cost together, in micro-minor units."""
    if price.amount is None:
        return 0
    return max(0, units - price.included) * price.amount // price.per


def charge(price: Price, *, already: int, more: int) -> int:
    """What `more` units cost after `already` ones. Never negative."""
    return cumulative(price, already + more) - cumulative(price, already)


def most(price: Price, units: int) -> int:
    """No less than what `units` cost wherever they begin, and no more than is needed for that."""
    return 0 if price.amount is None else -(-units * price.amount // price.per)


def share(gross: int, *, basis_points: int) -> int:
    """The commission in a cumulative gross. It telescopes like R, so gross = provider's share + commission."""
    return gross * basis_points // 10_000
