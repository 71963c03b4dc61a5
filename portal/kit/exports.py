"""A table as CSV, safe to open in a spreadsheet."""

import csv
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpResponse
from django.utils.translation import gettext

from portal.kit.money import Money
from portal.kit.tables import Arranged

MOST_ROWS = 50_000
# A cell that starts like this would be run as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def csv_of(
    table: Arranged, *, name: str, prepare: Callable[[Sequence[Any]], None] | None = None
) -> HttpResponse:
    """`name.csv` with a column per table column: at most `MOST_ROWS` rows under the current filters. `prepare` adds to
    them what their cells say besides.
    """
    columns = [column for column in table.columns if column.label]
    found: Iterable[Any] = table.every(MOST_ROWS)
    if prepare:
        found = list(found)
        prepare(found)
    rows = ([column.exported(row) for column in columns] for row in found)
    return csv_rows([column.label for column in columns], rows, name=name)


def csv_rows(head: Sequence[str], rows: Iterable[Sequence[Any]], *, name: str) -> HttpResponse:
    """`name.csv` of plain values, money and times."""
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    writer = csv.writer(response)
    writer.writerow(head)
    writer.writerows([plain(value) for value in row] for row in rows)
    return response


def plain(value: Any) -> str:
    """Money as its exact amount, times in ISO 8601 UTC, lists as words, text disarmed."""
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None:
        return ""
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, list | tuple | set | frozenset):
        return plain(", ".join(map(plain, value)))
    if isinstance(value, int | float | Decimal):
        return str(value)
    # A lazy text of ours is text too, and so is a choice.
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
