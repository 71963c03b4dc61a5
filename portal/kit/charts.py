"""A chart is its series; the page draws it and shows the same numbers as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Series:
    """One line or set of bars; a gap is None."""

    label: str
    values: Sequence[float | int | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """`x` are instants or numbers in rising order; with `days`, the beginnings of days in UTC, which are shown as days
    and not moved into the reader's zone: their sums are those of UTC. `unit` is "%", a currency code, "ms", "tokens" or "".
    """

    name: str
    title: str
    x: Sequence[datetime | float]
    series: Sequence[Series]
    unit: str = ""
    x_label: str = ""
    kind: Literal["line", "bar"] = "line"
    days: bool = False

    @property
    def is_timed(self) -> bool:
        return bool(self.x) and isinstance(self.x[0], datetime)

    @property
    def payload(self) -> dict[str, Any]:
        """What the browser draws; instants as Unix seconds."""
        return {
            "kind": self.kind,
            "scale": ("day" if self.days else "time") if self.is_timed else "number",
            "unit": self.unit,
            "x": [x.timestamp() if isinstance(x, datetime) else x for x in self.x],
            "series": [{"label": series.label, "values": list(series.values)} for series in self.series],
        }

    @property
    def rows(self) -> list[tuple[datetime | float, list[float | int | None]]]:
        """The table's rows: x, then a value of each series."""
        return [(x, [series.values[index] for series in self.series]) for index, x in enumerate(self.x)]
