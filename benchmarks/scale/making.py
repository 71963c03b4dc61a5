"""Fill an empty, migrated database with a world of a given size. Exact: `check_invariants` holds of it.

Runs in a process where Django is set up. A world is the same for the same size and day.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from django.db import connection, transaction

from benchmarks.scale.size import Size
from billing import measuring
from marketplace import prominence
from portal.kit import clock

Say = Callable[[str], object]
_HERE = Path(__file__).parent


def make(size: Size, *, say: Say = lambda _: None) -> None:
    """Listings, consumers, calls day by day, books; each step commits by itself, so an interrupted world is
    to be thrown away.
    """
    last = clock.now().date() - timedelta(days=1)
    first = last - timedelta(days=size.days - 1)
    facts = _facts(size, first=first, last=last)
    for step in ("names", "catalogue", "consumers"):
        say(step)
        _run(step, **facts)
    for day in _days(first, last):
        if day.day % 10 == 0:
            say(f"calls of {day}")
        _run("day", **facts, **_of_day(day, first))
    say("books")
    _run("books", **facts)
    _vacuum()
    measuring.measure_known()
    prominence.refresh()
    _vacuum()


def _vacuum() -> None:
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


def _facts(size: Size, *, first: date, last: date) -> dict[str, object]:
    started = _midnight(first)
    # The periods of the coming weeks too, for calls that a later run adds.
    ahead = last + timedelta(days=60)
    bounds = dict.fromkeys(clock.period_around(started, _midnight(day)) for day in _days(first, ahead))
    periods = ", ".join(
        f"({number}, timestamptz '{starts.isoformat()}', timestamptz '{ends.isoformat()}')"
        for number, (starts, ends) in enumerate(bounds)
    )
    return {
        "seed": size.seed, "listings": size.listings, "providers": size.providers, "consumers": size.consumers,
        "events": size.events, "days": size.days, "periods": periods, "started": _milliseconds(first),
        "born": _milliseconds(first) - 1000 * size.listings - 86_400_000,
    }  # fmt: skip


def _of_day(day: date, first: date) -> dict[str, object]:
    anchor, moment = _midnight(first), _midnight(day)
    starts, _ = clock.period_around(anchor, moment)
    number = (starts.year - anchor.year) * 12 + starts.month - anchor.month
    return {
        "table": f"usage_event_{day:%Y%m%d}", "day": day.isoformat(), "day_ms": _milliseconds(day), "period": number,
        "day_of_period": (moment - starts).days,
    }  # fmt: skip


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def _milliseconds(day: date) -> int:
    return int(_midnight(day).timestamp() * 1000)


def _run(step: str, **facts: object) -> None:
    text = (_HERE / f"{step}.sql").read_text().format(**facts)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '400MB'; SET LOCAL maintenance_work_mem = '400MB'")
        cursor.execute(text)
