"""Usage as its consumer sees it: totals, series and the log of requests. Reads rollups and events alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.db.models import Case, IntegerField, QuerySet, Sum, Value, When

from billing import spans
from billing.errors import CursorInvalid, MixedCurrencies
from billing.models import UsageEvent
from billing.spans import Rows
from marketplace.models import Listing, Subscription
from portal.accounts.models import ApiKey, Organisation
from portal.kit import clock, ids
from portal.kit.money import Money

By = Literal["day", "model", "key"]
Step = Literal["hour", "day", "month"]
SUMS = (
    "requests", "failed", "input_tokens", "output_tokens", "cached_tokens", "images", "compute_ms", "charge",
)  # fmt: skip
# What rows are grouped by.
_COLUMNS: Mapping[By, str] = {"day": "", "model": "listing_id", "key": "api_key_id"}
_MOST_ROWS = 500
# What a list of calls shows: of each all but how it was rated, and of what it names the names.
_LISTED = (
    *(field.name for field in UsageEvent._meta.concrete_fields if field.name != "rated"),
    "listing__slug", "listing__organisation", "listing__organisation__slug", "version__number", "api_key__name",
)  # fmt: skip
# Two days, in the milliseconds that UUIDv7s begin with.
_NEAR = 2 * 86_400_000 << 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Answered and failed calls; what the answered ones used; their charge."""

    requests: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0
    compute_ms: int = 0
    charge: Money

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Totals of one group from `at` on; `at` is None where the whole range is one. `group` is a listing's
    `owner/slug`, or a key's name, or "".
    """

    at: datetime | None
    group: str
    group_id: UUID | None
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which requests the log shows; None shows all. `since` and `until` bound the time of admission."""

    listing_id: UUID | None = None
    key_id: UUID | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class LogPage:
    """Newest first. `next_cursor` asks for what is older; None at the end."""

    rows: list[UsageEvent]
    next_cursor: str | None


def totals(organisation: Organisation, start: datetime, end: datetime) -> Totals:
    """Usage from the hour `spans.bound(start)` to before that of `end`. Raises `MixedCurrencies`."""
    return total(series(organisation, start, end, step=None))


def total(points: Sequence[Point]) -> Totals:
    """All of them together. Raises `MixedCurrencies`."""
    currencies = {each.totals.charge.currency for each in points}
    if len(currencies) > 1:
        raise MixedCurrencies(what="usage", currencies=", ".join(sorted(currencies)))
    sums = {name: sum(getattr(each.totals, name) for each in points) for name in SUMS if name != "charge"}
    charge = sum(each.totals.charge.amount for each in points)
    return Totals(**sums, charge=Money(charge, next(iter(currencies), settings.CURRENCY)))


def series(
    organisation: Organisation, start: datetime, end: datetime, *, by: By = "day", step: Step | None = "day"
) -> list[Point]:
    """Totals per step of time and per group, in order of time. `step` None: one point per group."""
    found = [
        row
        for rows in spans.rows(start, end, step=step, organisation=organisation)
        for row in _grouped(rows, by=by, step=step)
    ]
    # Looked up for the few that there are: joined before the sums, they would be for every row.
    currencies, names = _currencies(found), _names(found, by=by)
    column = _COLUMNS[by]
    points = [
        Point(
            at=row.get("at"),
            group=names[row[column]] if column else "",
            group_id=row[column] if column else None,
            totals=_read(row, currency=currencies[row["subscription_id"]]),
        )
        for row in found
    ]
    return _merged(points)


def lines(
    organisation: Organisation, start: datetime, end: datetime, *, by: Literal["model", "key"], step: Step,
    groups: Sequence[Point], currency: str,
) -> list[Point]:  # fmt: skip
    """Totals per step of time for each of these `groups` (`series` without steps made them), and for all others
    together, whose `group` is "". However many groups there are, the answer has few points. All was paid in
    `currency`, as `total` of the same span has made sure.
    """
    names = {number: (each.group, each.group_id) for number, each in enumerate(groups)}
    points = []
    for rows in spans.rows(start, end, step=step, organisation=organisation):
        found = rows.found.annotate(at=rows.at(step), line=_line(groups, by=by))
        for row in found.values("at", "line").annotate(**_sums()).order_by("at", "line"):
            group, group_id = names.get(row["line"], ("", None))
            totals = _read(row, currency=currency)
            points.append(Point(at=row["at"], group=group, group_id=group_id, totals=totals))
    return _merged(points)


def _merged(points: Iterable[Point]) -> list[Point]:
    """One point where the same step and group came in days and in hours. Both came in order of time, and stay so."""
    found: dict[tuple[object, ...], list[Point]] = {}
    for each in points:
        key = (each.at, each.group_id, each.group, each.totals.charge.currency)
        found.setdefault(key, []).append(each)
    return [replace(parts[0], totals=total(parts)) if parts[1:] else parts[0] for parts in found.values()]


def _line(groups: Sequence[Point], *, by: Literal["model", "key"]) -> Case:
    column = _COLUMNS[by]
    tests = [
        {f"{column}__isnull": True} if each.group_id is None else {column: each.group_id} for each in groups
    ]
    whens = [When(**test, then=Value(number)) for number, test in enumerate(tests)]
    return Case(*whens, default=Value(-1), output_field=IntegerField())


def requests(organisation: Organisation, filters: Filters | None = None) -> QuerySet[UsageEvent]:
    """The organisation's calls, newest first, with the names of what they name."""
    wanted = filters or Filters()
    found = UsageEvent.objects.filter(organisation=organisation)
    found = found.select_related("listing__organisation", "version", "api_key").only(*_LISTED)
    exact = {"listing_id": wanted.listing_id, "api_key_id": wanted.key_id, "outcome": wanted.outcome}
    found = found.filter(**{name: value for name, value in exact.items() if value is not None})
    if wanted.since:
        found = found.filter(id__gte=ids.first_at(wanted.since))
    if wanted.until:
        found = found.filter(id__lt=ids.first_at(wanted.until))
    return found.order_by("-id")


def find(request_id: UUID, *, of: Iterable[UUID]) -> UsageEvent | None:
    """The call with this id if one of these organisations made it, with all that it names; None while it runs."""
    found = UsageEvent.objects.filter(pk=request_id, organisation_id__in=list(of))
    return found.select_related(
        "organisation", "listing__organisation", "version", "api_key", "plan_version__plan"
    ).first()


def near(rows: QuerySet[UsageEvent], before: UUID | str | None) -> QuerySet[UsageEvent]:
    """Of the calls before this id (None: the newest), those of the last two days. Planning for a quarter's partitions
    takes Postgres far longer than reading a page from the newest.
    """
    last = UUID(str(before)) if before else ids.first_at(clock.now())
    return rows.filter(id__gte=UUID(int=max(0, last.int - _NEAR)))


def request_log(
    organisation: Organisation, *, cursor: str | None = None, filters: Filters | None = None, limit: int = 50
) -> LogPage:
    """One page of the log, of constant cost at any depth. Raises `CursorInvalid`."""
    found = requests(organisation, filters)
    before = _read_cursor(cursor) if cursor else None
    if before:
        found = found.filter(id__lt=before)
    count = max(1, min(limit, _MOST_ROWS))
    rows = list(near(found, before)[: count + 1])
    if len(rows) <= count:
        rows = list(found[: count + 1])
    more = len(rows) > count
    rows = rows[:count]
    return LogPage(rows, rows[-1].public_id if more else None)


def _read_cursor(cursor: str) -> UUID:
    try:
        return ids.parse("req", cursor)
    except ValueError as error:
        raise CursorInvalid(cursor=cursor, param="cursor") from error


def _grouped(rows: Rows, *, by: By, step: Step | None) -> list[Mapping[str, Any]]:
    """Sums per step, group and subscription, in order of time."""
    column, found = _COLUMNS[by], rows.found
    columns = [column] if column else []
    if step:
        found = found.annotate(at=rows.at(step))
        columns.insert(0, "at")
    columns.append("subscription_id")
    return list(found.values(*columns).annotate(**_sums()).order_by(*columns))


def _currencies(found: Iterable[Mapping[str, Any]]) -> Mapping[UUID, str]:
    """In what each subscription is paid."""
    subscriptions = Subscription.objects.filter(pk__in={row["subscription_id"] for row in found})
    return dict(subscriptions.values_list("pk", "plan_version__currency"))


def _names(found: Iterable[Mapping[str, Any]], *, by: By) -> Mapping[UUID | None, str]:
    """What each group is called."""
    if by == "day":
        return {}
    ids = {row[_COLUMNS[by]] for row in found}
    if by == "key":
        names = dict(ApiKey.objects.filter(pk__in=ids).values_list("pk", "name"))
        return {key: names.get(key) or "Playground" for key in ids}
    listings = Listing.objects.filter(pk__in=ids).values_list("pk", "organisation__slug", "slug")
    return {pk: f"{owner}/{slug}" for pk, owner, slug in listings}


def _sums() -> dict[str, Sum]:
    # Named apart from the columns, which they would hide.
    return {f"sum_{name}": Sum(name) for name in SUMS}


def _read(row: Mapping[str, Any], *, currency: str) -> Totals:
    sums = {name: row[f"sum_{name}"] for name in SUMS}
    return Totals(**sums | {"charge": Money(sums["charge"], currency)})
