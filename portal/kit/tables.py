"""Tables: search, filter, sort, keyset pages and CSV, all from the query string. Here those of database rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from operator import or_
from typing import Any, Literal
from urllib.parse import urlencode

from django.core import signing
from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.template.loader import render_to_string
from django.utils.html import strip_tags
from django.utils.safestring import SafeString

from portal.kit import keysets
from portal.kit.keysets import Key, Order

Kind = Literal["text", "code", "id", "number", "money", "time", "size", "duration", "state"]
NUMERIC: frozenset[Kind] = frozenset({"number", "money", "size", "duration"})


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is an attribute path on the row. `sort` is the field to order by: never null, "" for unsortable.
    In place of `kind`, `draw` gives the cell of a row, or a `template` does, which takes ten times as long and has
    `row` and `value`.
    """

    name: str
    label: str
    kind: Kind = "text"
    sort: str = ""
    template: str = ""
    draw: Callable[[Any], SafeString] | None = None
    # What a CSV holds in place of the value, where that is no text, number, money or time: something of the row, or
    # the words of its cell.
    export: Callable[[Any], Any] | Literal["", "words"] = ""

    @property
    def is_numeric(self) -> bool:
        return self.kind in NUMERIC

    def value(self, row: Any) -> Any:
        """What the row has there; None where the path ends early."""
        found = row
        for name in self.name.split("."):
            found = getattr(found, name) if found is not None else None
        return found() if callable(found) else found

    def exported(self, row: Any) -> Any:
        """What a CSV holds."""
        if callable(self.export):
            return self.export(row)
        if not self.export:
            return self.value(row)
        drawn = render_to_string(self.template, {"row": row, "value": self.value(row)})
        return " ".join(strip_tags(drawn).split())


@dataclass(frozen=True, slots=True)
class Choice:
    """A select over the table: `field` is compared with the chosen key."""

    name: str
    label: str
    field: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Head:
    """A column's heading: the link that sorts by it, and how it sorts now."""

    column: Column
    url: str
    direction: Literal["", "ascending", "descending"]


def containing(*fields: str) -> Callable[[str], Q]:
    """A search that finds its text anywhere in one of the fields, in any case."""
    return lambda text: reduce(or_, (Q(**{f"{field}__icontains": text}) for field in fields))


class Arranged(ABC):
    """What a query string asks of a table's rows. Unknown sorts, choices and cursors are ignored."""

    def __init__(
        self, columns: Sequence[Column], *, query: QueryDict, order: str, choices: Sequence[Choice], searchable: bool
    ) -> None:  # fmt: skip
        self.columns, self.choices, self.is_searchable = columns, choices, searchable
        self._query, self._default = query, order

    @property
    @abstractmethod
    def page(self) -> Sequence[Any]:
        """The rows to show."""

    @property
    @abstractmethod
    def next_url(self) -> str:
        """Where the next page is; "" on the last."""

    @property
    @abstractmethod
    def first_url(self) -> str:
        """Where the first page is, if this is a later one."""

    @abstractmethod
    def every(self, limit: int) -> Iterable[Any]:
        """All filtered rows in order, for an export."""

    @property
    def text(self) -> str:
        return self._query.get("q", "").strip()

    @property
    def is_filtered(self) -> bool:
        return bool(self.text or self.chosen)

    @cached_property
    def chosen(self) -> Mapping[str, str]:
        """The valid choices made, by name."""
        asked = ((choice, self._query.get(choice.name, "")) for choice in self.choices)
        return {choice.name: value for choice, value in asked if value in dict(choice.options)}

    @cached_property
    def order(self) -> str:
        """The field ordered by, with "-" for descending."""
        asked = self._query.get("sort", "")
        sortable = {column.sort for column in self.columns if column.sort}
        return asked if asked.removeprefix("-") in sortable else self._default

    @property
    def heads(self) -> list[Head]:
        return [self._head(column) for column in self.columns]

    @property
    def csv_url(self) -> str:
        return self.url(after=None, format="csv")

    @property
    def clear_url(self) -> str:
        """This table without its search and choices."""
        return self.url(after=None, q=None, **{choice.name: None for choice in self.choices})

    @property
    def kept(self) -> Mapping[str, str]:
        """What a search must not lose of the address: the sort, and what is asked of the rest of the page."""
        typed = {"q", "after", "format", *(choice.name for choice in self.choices)}
        return {name: self._query.get(name, "") for name in self._query if name not in typed}

    def url(self, **changes: str | None) -> str:
        """This table's query string with some keys changed; None removes one."""
        kept = {name: value for name, value in self._query.items() if name not in ("format", *changes)}
        return "?" + urlencode(kept | {name: value for name, value in changes.items() if value is not None})

    @property
    def _field(self) -> str:
        return self.order.removeprefix("-")

    @property
    def _is_descending(self) -> bool:
        return self.order.startswith("-")

    def _head(self, column: Column) -> Head:
        if not column.sort:
            return Head(column, "", "")
        mine = self._field == column.sort
        # A first click on numbers shows the largest first; a click on the sorted column turns it round.
        turns_down = not self._is_descending if mine else column.is_numeric
        url = self.url(sort=f"-{column.sort}" if turns_down else column.sort, after=None)
        if not mine:
            return Head(column, url, "")
        return Head(column, url, "descending" if self._is_descending else "ascending")


class Table(Arranged):
    """One page of database `rows`, by the keys of the last row (`portal.kit.keysets`)."""

    def __init__(
        self, rows: QuerySet[Any], columns: Sequence[Column], *, query: QueryDict, order: str = "-created_at",
        search: Callable[[str], Q] | None = None, choices: Sequence[Choice] = (), size: int = 25,
        near: Callable[[QuerySet[Any], Any], QuerySet[Any]] | None = None,
    ) -> None:  # fmt: skip
        """`near(rows, id)` keeps those that most likely precede the id (None: the last ones): where the newest come
        first, they are asked for alone, and if they fill no page, all are.
        """
        super().__init__(columns, query=query, order=order, choices=choices, searchable=search is not None)
        self._search, self._size, self._near = search, size, near
        self._rows = self._narrowed(rows)

    @cached_property
    def page(self) -> list[Any]:
        return self._fetched[: self._size]

    @property
    def next_url(self) -> str:
        if len(self._fetched) <= self._size:
            return ""
        cursor = [self._place, *keysets.position(self.page[-1], self._keys)]
        return self.url(after=signing.dumps(cursor, compress=True))

    @property
    def first_url(self) -> str:
        return self.url(after=None) if self._cursor else ""

    def every(self, limit: int) -> QuerySet[Any]:
        return self._ordered(self._rows)[:limit]

    @cached_property
    def _cursor(self) -> list[Any] | None:
        try:
            place, *after = signing.loads(self._query.get("after", ""))
        except (signing.BadSignature, TypeError, ValueError):
            return None
        return after if place == self._place else None

    @property
    def _place(self) -> str:
        """What a cursor is good for: these rows in this order."""
        return f"{self._rows.model._meta.label} {self.order}"

    @property
    def _keys(self) -> Order:
        last = Key("id", descending=self._is_descending)
        return (last,) if self._field == "id" else (Key(self._field, descending=self._is_descending), last)

    @cached_property
    def _fetched(self) -> list[Any]:
        order, after, rows = self._keys, self._cursor, self._ordered(self._rows)
        fetch = partial(keysets.page, order=order, after=after, size=self._size + 1)
        if self._near and self.order == "-id":
            found = fetch(self._near(rows, after[0] if after else None))
            if len(found) > self._size:
                return found
        return fetch(rows)

    def _ordered(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.order_by(*(key.ordering for key in self._keys))

    def _narrowed(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self.text and self._search:
            rows = rows.filter(self._search(self.text))
        fields = {choice.name: choice.field for choice in self.choices}
        return rows.filter(**{fields[name]: value for name, value in self.chosen.items()})
