"""Budgets of API keys: their windows of time, and what has been spent in them.

A window is a function of time, in UTC, so nothing ever resets it. A call counts in the windows that were
open when it was admitted, also if it ends in the next ones, and in those budgets that its key had then.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from uuid import UUID

from django.db.models import Q, Sum

from billing.models import BudgetLease, KeyDay
from portal.accounts.models import ApiKey
from portal.kit import figures
from portal.kit.money import Money

Span = Literal["total", "day", "month"]
ALL_TIME = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Window:
    """Whole UTC days from `first_day` to before `end_day`, which is None for all time; `allowed` is the budget
    in micro-minor units.
    """

    span: Span
    first_day: date
    end_day: date | None
    allowed: int

    @property
    def ends(self) -> datetime | None:
        return datetime.combine(self.end_day, time(), tzinfo=UTC) if self.end_day else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What a key has spent in a window, and may still spend."""

    span: Span
    allowed: Money
    spent: Money
    left: Money
    ends: datetime | None

    @property
    def percent(self) -> int:
        """Of the budget that is gone; a budget of nothing is all gone."""
        return 100 if not self.allowed.amount else 100 - 100 * self.left.amount // self.allowed.amount

    @property
    def left_text(self) -> str:
        return figures.money_text(self.left)

    @property
    def allowed_text(self) -> str:
        return figures.money_text(self.allowed)


def windows(key: ApiKey, at: datetime) -> tuple[Window, ...]:
    """The windows of the key's budgets that hold `at`, the shortest first."""
    allowed: tuple[tuple[Span, int | None], ...] = (
        ("day", key.daily_budget),
        ("month", key.monthly_budget),
        ("total", key.total_budget),
    )
    return tuple(window(span, at, allowed=most) for span, most in allowed if most is not None)


def window(span: Span, at: datetime, *, allowed: int) -> Window:
    """The window of this length that holds `at`."""
    today = at.astimezone(UTC).date()
    month = today.replace(day=1)
    if span == "day":
        return Window(span, today, today + timedelta(days=1), allowed)
    if span == "month":
        return Window(span, month, (month + timedelta(days=32)).replace(day=1), allowed)
    return Window(span, ALL_TIME, None, allowed)


def spent(key_id: UUID, window: Window) -> int:
    """Charges that Postgres has recorded in a window."""
    days = KeyDay.objects.filter(api_key_id=key_id, day__gte=window.first_day)
    if window.end_day:
        days = days.filter(day__lt=window.end_day)
    total: int = days.aggregate(total=Sum("charge", default=0))["total"]
    return total


def forfeited(key_id: UUID, window: Window) -> int:
    """What lost leases have taken from a window."""
    lost = BudgetLease.objects.filter(api_key_id=key_id, span=window.span, first_day=window.first_day)
    total: int = lost.aggregate(total=Sum("forfeited", default=0))["total"]
    return total


def standings(keys: Iterable[ApiKey], at: datetime) -> Mapping[UUID, list[Standing]]:
    """How the budgets of several keys stand, by key; keys without one are left out."""
    open_windows = {key: found for key in keys if (found := windows(key, at))}
    used = _spent_by_all(open_windows, at)
    lost = _forfeited_by_all(open_windows)
    return {
        key.pk: [
            _standing(
                key, window, used=used[key.pk][window.span], lost=lost[key.pk, window.span, window.first_day]
            )
            for window in found
        ]
        for key, found in open_windows.items()
    }


def _spent_by_all(keys: Iterable[ApiKey], at: datetime) -> Mapping[UUID, Counter[str]]:
    today = at.astimezone(UTC).date()
    rows = (
        KeyDay.objects.filter(api_key__in=[key.pk for key in keys])
        .values("api_key_id")
        .annotate(
            total=Sum("charge"),
            month=Sum("charge", filter=Q(day__gte=today.replace(day=1)), default=0),
            day=Sum("charge", filter=Q(day__gte=today), default=0),
        )
    )
    found: dict[UUID, Counter[str]] = defaultdict(Counter)
    for row in rows:
        found[row["api_key_id"]].update({span: row[span] for span in ("total", "month", "day")})
    return found


def _forfeited_by_all(keys: Iterable[ApiKey]) -> Counter[tuple[UUID, str, date]]:
    leases = BudgetLease.objects.filter(api_key__in=[key.pk for key in keys], forfeited__gt=0)
    rows = leases.values_list("api_key_id", "span", "first_day").annotate(Sum("forfeited"))
    return Counter({(key, span, first): lost for key, span, first, lost in rows})


def _standing(key: ApiKey, window: Window, *, used: int, lost: int) -> Standing:
    left = max(0, window.allowed - used - lost)
    allowed, gone, rest = (Money(amount, key.budget_currency) for amount in (window.allowed, used, left))
    return Standing(window.span, allowed, gone, rest, window.ends)
