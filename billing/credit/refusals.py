"""What admission refuses, and why: the script's answers as errors."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from billing.credit.facts import CallFacts
from billing.errors import (
    AllowanceExhausted,
    BudgetExhausted,
    RateLimited,
    SpendCapReached,
    StaleFacts,
    WindowExhausted,
)
from marketplace.models import Meter
from portal.kit import clock
from portal.kit.errors import PortalError

# As the script names it.
SPEND_CAP = "spend cap"
_WORDS = {"day": "daily budget", "month": "monthly budget"}


def read(answer: Sequence[Any], facts: CallFacts) -> PortalError:
    """The error that the script's answer stands for."""
    verdict = answer[0]
    if verdict == b"limited":
        _, scope, name, limit, remaining, wait_ms = answer
        return RateLimited(
            what=facts.rates[scope - 1].holder, scope=name.decode(), limit=limit, remaining=remaining,
            retry_after=wait_ms / 1000, advice=_advise_on_rate(facts, facts.rates[scope - 1].holder),
        )  # fmt: skip
    if verdict == b"exhausted":
        return _exhausted(facts, *answer[1:])
    if verdict == b"overspent":
        return _overspent(facts, *answer[1:])
    return StaleFacts(reason=answer[1].decode())


def _exhausted(facts: CallFacts, meter: bytes, left: int, needed: int) -> AllowanceExhausted:
    name, ends = meter.decode(), datetime.fromtimestamp(facts.period_ends, tz=UTC)
    told: dict[str, Any] = {
        "meter": name, "left": left, "needed": needed, "resets_at": facts.period_ends,
        "retry_after": max(1.0, facts.period_ends - clock.now().timestamp()),
    }  # fmt: skip
    period, where = f"The period ends on {ends:%Y-%m-%d %H:%M} UTC.", _name_subscription(facts)
    if name == SPEND_CAP:
        advice = f"{period} Ask for a shorter answer, or raise the limit: {where}."
        return SpendCapReached(**told, currency=facts.currency, advice=advice)
    advice = f"{period} Ask for less, or take another plan: {where}."
    return AllowanceExhausted(**told, unit=Meter(name).label.lower(), advice=advice)


def _advise_on_rate(facts: CallFacts, holder: str) -> str:
    """Whose to set a rate limit is, and where."""
    if holder == "key":
        return f"The limit is set with the key: {_name_key(facts)}."
    if holder == "subscription":
        return f"The limit is the plan's; take another plan: {_name_subscription(facts)}."
    return "The limit is the operator's to set."


def _name_subscription(facts: CallFacts) -> str:
    """Where people change it, and where programs do."""
    return (
        f"{settings.PUBLIC_URL}/console/subscriptions/ or PATCH /api/subscriptions/{facts.subscription_id}/"
    )


def _name_key(facts: CallFacts) -> str:
    return f"{settings.PUBLIC_URL}/console/keys/ or PATCH /api/keys/{facts.key_id}/"


def _overspent(facts: CallFacts, index: int, left: int, needed: int) -> BudgetExhausted:
    window = facts.budgets[index - 1].window
    told: dict[str, Any] = {
        "window": window.span, "needed": needed, "left": left, "budget": window.allowed, "currency": facts.currency,
        "advice": f"It is set with the key: {_name_key(facts)}.",
    }  # fmt: skip
    if window.ends is None:
        return BudgetExhausted(**told)
    return WindowExhausted(
        **told, what=_WORDS[window.span], resets=f"{window.ends:%Y-%m-%d %H:%M} UTC",
        resets_at=window.ends.timestamp(), retry_after=max(1.0, (window.ends - clock.now()).total_seconds()),
    )  # fmt: skip
