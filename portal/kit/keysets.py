"""Pages by the keys of the last row, in any order of columns: a late page costs as much as the first, and rows that
arrive meanwhile shift nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID

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
        return (
            found.isoformat()
            if isinstance(found, datetime)
            else str(found)
            if isinstance(found, UUID)
            else found
        )


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
    """What follows, in parts: an index finds the beginning of each by the first key alone."""
    first, value = order[0], after[0]
    if value is None:
        return [rows.filter(_past(order, after))]
    bound = Q(**{f"{first.name}__{'lte' if first.descending else 'gte'}": value})
    parts = [rows.filter(bound, _past(order, after))]
    if first.nullable:
        parts.append(rows.filter(**{f"{first.name}__isnull": True}))
    return parts


def _past(order: Order, after: Sequence[Any]) -> Q:
    key, value = order[0], after[0]
    if value is None:
        same, past = Q(**{f"{key.name}__isnull": True}), Q(pk__in=[])
    else:
        same, past = Q(**{key.name: value}), Q(**{f"{key.name}__{'lt' if key.descending else 'gt'}": value})
        if key.nullable:
            past |= Q(**{f"{key.name}__isnull": True})
    return past | same & _past(order[1:], after[1:]) if order[1:] else past
