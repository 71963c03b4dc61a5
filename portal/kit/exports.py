"""A table as CSV, safe to open in a spreadsheet."""

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpResponse

from portal.kit.money import Money
from portal.kit.tables import Arranged

MOST_ROWS = 50_000
# A cell that starts like this would be run as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_of(table: Arranged, *, name: str) -> HttpResponse:
    """`name.csv` with a column per table column: at most `MOST_ROWS` rows under the current filters."""
    columns = [column for column in table.columns if column.label]
    rows = ([column.value(row) for column in columns] for row in table.every(MOST_ROWS))
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
    """Money as its exact amount, times in ISO 8601 UTC, text disarmed."""
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
