"""Tables of rows that were computed, such as sums: arranged in memory as `Table` arranges rows in the database."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

from django.http import QueryDict

from portal.kit.tables import Arranged, Column


class Sheet(Arranged):
    """One page of `rows`, which are few enough to be all at hand. A column sorts by what it shows, rows that have
    nothing there last; ties stay as they came. `search` names the attribute in which a text is looked for.

    A page begins after the row that the address names by its `identity`, wherever that row is by now.
    """

    def __init__(
        self, rows: Iterable[Any], columns: Sequence[Column], *, query: QueryDict, order: str = "", identity: str = "",
        search: str = "", size: int = 100,
    ) -> None:  # fmt: skip
        super().__init__(columns, query=query, order=order, choices=(), searchable=bool(search))
        self._search, self._size, self._identity = search, size, identity
        self._rows = self._ordered(self._narrowed(list(rows)))

    @property
    def page(self) -> list[Any]:
        return self._rows[self._start : self._start + self._size]

    @property
    def next_url(self) -> str:
        if self._start + self._size >= len(self._rows):
            return ""
        return self.url(after=self._named(self.page[-1]))

    @property
    def first_url(self) -> str:
        return self.url(after=None) if self._start else ""

    def every(self, limit: int) -> list[Any]:
        return self._rows[:limit]

    def cells(self) -> Iterable[list[Any]]:
        """What every row has in each column, for an export."""
        return ([column.exported(row) for column in self.columns] for row in self._rows)

    @cached_property
    def _start(self) -> int:
        after = self._query.get("after", "")
        names = [self._named(row) for row in self._rows] if after and self._identity else []
        return names.index(after) + 1 if after in names else 0

    def _named(self, row: Any) -> str:
        return str(attrgetter(self._identity)(row))

    def _narrowed(self, rows: list[Any]) -> list[Any]:
        if not self.text or not self._search:
            return rows
        wanted, words = self.text.casefold(), attrgetter(self._search)
        return [row for row in rows if wanted in str(words(row)).casefold()]

    def _ordered(self, rows: list[Any]) -> list[Any]:
        sorting = next(
            (column for column in self.columns if column.sort and column.sort == self._field), None
        )
        if sorting is None:
            return rows
        value: Callable[[Any], Any] = sorting.value
        blank = [row for row in rows if value(row) is None]
        filled = [row for row in rows if value(row) is not None]
        return sorted(filled, key=lambda row: _rank(value(row)), reverse=self._is_descending) + blank


def _rank(value: Any) -> Any:
    return value.casefold() if isinstance(value, str) else value
