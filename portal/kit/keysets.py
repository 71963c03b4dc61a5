"""Pages by the keys of the last row, in any order of columns: a late page costs as much as the first, and rows that
arrive meanwhile shift nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.expressions import OrderBy


@dataclass(frozen=True, slots=True)
class Key:
    """A column of an order, by its path from the row. Nulls, where there may be any, come last."""

    name: str
    descending: bool = False
    nullable: bool = False

    @property
    def ordering(self) -> OrderBy:
        """For `order_by`."""
        column, last = F(self.name), True if self.nullable else None
        return column.desc(nulls_last=last) if self.descending else column.asc(nulls_last=last)

    def value(self, row: Any) -> Any:
        """As JSON can say it."""
        found = attrgetter(self.name.replace("__", "."))(row)
        if isinstance(found, datetime):
            return found.isoformat()
        return found if found is None or isinstance(found, int) else str(found)


Order = Sequence[Key]


def position(row: Any, order: Order) -> list[Any]:
    """Where the row stands, for `page`."""
    return [key.value(row) for key in order]


def page(rows: QuerySet[Any], order: Order, *, after: Sequence[Any] | None, size: int) -> list[Any]:
    """The first rows behind a position. The last key of the order must be unique, and `rows` be in this order."""
    found: list[Any] = []
    for part in [rows] if after is None else _behind(rows, order, after):
        found += part[: size - len(found)]
        if len(found) == size:
            break
    return found


def _behind(rows: QuerySet[Any], order: Order, after: Sequence[Any]) -> list[QuerySet[Any]]:
    """What follows, in parts: those that share all keys but the last, then all but two, and so on. Each is a range of
    an index, however many rows share a key.
    """
    parts = []
    for depth in reversed(range(len(order))):
        key, value = order[depth], after[depth]
        if value is None:
            continue
        same = rows.filter(*map(_equal, order[:depth], after))
        parts.append(same.filter(**{f"{key.name}__{'lt' if key.descending else 'gt'}": value}))
        if key.nullable:
            parts.append(same.filter(_equal(key, None)))
    return parts


def _equal(key: Key, value: Any) -> Q:
    return Q(**{f"{key.name}__isnull": True}) if value is None else Q(**{key.name: value})
