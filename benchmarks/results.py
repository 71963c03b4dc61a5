"""Rows of `bench.json`: what was measured, beside which peer, against which goal."""

from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on a row's value, or on its ratio to the peer."""

    of: Literal["value", "ratio"]
    bound: float
    better: Better = "higher"

    def is_met(self, row: "dict[str, Any]") -> bool:
        """False also for a ratio that could not be measured."""
        found = row[self.of]
        if found is None:
            return False
        return bool(found >= self.bound if self.better == "higher" else found <= self.bound)

    def __str__(self) -> str:
        return f"{self.of} {'>=' if self.better == 'higher' else '<='} {self.bound:g}"


def at_least(bound: float) -> Goal:
    """The value must not be smaller."""
    return Goal("value", bound)


def at_most(bound: float) -> Goal:
    """The value must not be larger."""
    return Goal("value", bound, "lower")


def times(bound: float) -> Goal:
    """The ratio to the peer, which is above 1 where we are better, must not be smaller."""
    return Goal("ratio", bound)


def row(
    name: str,
    value: float,
    unit: str,
    *,
    command: str,
    peer: str | None = None,
    peer_value: float | None = None,
    better: Better = "higher",
    goal: Goal | None = None,
) -> dict[str, Any]:
    """One line. `ratio` is above 1 where ours is the better figure; `better` says which way that is."""
    ratio = None
    if peer_value and value:
        ratio = value / peer_value if better == "higher" else peer_value / value
    measured = {
        "name": name, "value": _rounded(value), "unit": unit, "peer": peer, "peer_value": _rounded(peer_value),
        "ratio": _rounded(ratio), "command": command,
    }  # fmt: skip
    return measured | {"goal": str(goal) if goal else None, "met": goal.is_met(measured) if goal else None}


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else float(f"{figure:.6g}")
