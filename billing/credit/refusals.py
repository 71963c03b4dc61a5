"""What admission refuses, and why: the script's answers as errors."""

from collections.abc import Sequence
from typing import Any

from billing.credit.facts import CallFacts
from billing.errors import AllowanceExhausted, BudgetExhausted, RateLimited, StaleFacts, WindowExhausted
from portal.kit import clock
from portal.kit.errors import PortalError
from portal.kit.money import Money

_WORDS = {"day": "daily budget", "month": "monthly budget"}


def read(answer: Sequence[Any], facts: CallFacts) -> PortalError:
    """The error that the script's answer stands for."""
    verdict = answer[0]
    if verdict == b"limited":
        _, scope, name, limit, remaining, wait_ms = answer
        return RateLimited(
            what=facts.rates[scope - 1].holder, scope=name.decode(), limit=limit, remaining=remaining,
            retry_after=wait_ms / 1000,
        )  # fmt: skip
    if verdict == b"exhausted":
        _, meter, left, needed = answer
        return AllowanceExhausted(meter=meter.decode(), left=left, needed=needed, resets_at=facts.period_ends)
    if verdict == b"overspent":
        return _overspent(facts, *answer[1:])
    return StaleFacts(reason=answer[1].decode())


def _overspent(facts: CallFacts, index: int, left: int, needed: int) -> BudgetExhausted:
    window = facts.budgets[index - 1].window
    told = {
        "window": window.span, "needed": str(Money(needed, facts.currency)), "left": str(Money(left, facts.currency)),
        "budget": str(Money(window.allowed, facts.currency)),
    }  # fmt: skip
    if window.ends is None:
        return BudgetExhausted(**told)
    return WindowExhausted(
        **told, what=_WORDS[window.span], resets=f"{window.ends:%Y-%m-%d %H:%M} UTC",
        resets_at=window.ends.timestamp(), retry_after=max(1.0, (window.ends - clock.now()).total_seconds()),
    )  # fmt: skip
