"""Entries of the usage stream, as the settlement script writes them, and their form in Postgres."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import msgpack

from billing.errors import EventUnreadable

METERS = ("requests", "input_tokens", "output_tokens", "cached_tokens", "images", "compute_ms")


_EPOCH, _DAY_MS = date(1970, 1, 1), 86_400_000


class Rated(NamedTuple):
    """`units` of a priced meter after `position` ones in the period, and their charge in micro-minor units."""

    meter: str
    position: int
    units: int
    charge: int


class KnownFacts(NamedTuple):
    """What admission packed into the hold. Ids are hex. `day`, in days since 1970, is the UTC day in whose
    budgets the call counts; None where it had none.
    """

    organisation: str
    provider: str
    subscription: str
    listing: str
    version: str
    plan_version: str
    period: str
    lease: str
    key: str | None
    endpoint: str
    streamed: bool
    currency: str
    demo: bool
    day: int | None = None


class Event(NamedTuple):
    """One ended call. `finished_ms` is unix time; `units` counts per meter."""

    id: str
    known: KnownFacts
    outcome: str
    finished_ms: int
    units: Mapping[str, int]
    rated: tuple[Rated, ...]
    charge: int
    extra: Mapping[str, Any]

    @property
    def day(self) -> date:
        """The UTC day of admission, as the budgets saw it."""
        days = self.known.day
        return _date((int(self.id[:12], 16) // _DAY_MS) if days is None else days)

    @property
    def is_held(self) -> bool:
        """Whether the provider's share waits for an operator's look."""
        report = self.extra.get("report")
        return report is not None and bool(report["held"])

    def uncharged(self) -> "Event":
        """The same call, written off."""
        return self._replace(rated=(), charge=0)


def read(fields: Mapping[bytes, bytes]) -> Event:
    """Raises `EventUnreadable` for an entry that the settlement script cannot have written."""
    try:
        known, extra = _read_known(fields[b"f"]), msgpack.unpackb(fields[b"x"])
        identity = UUID(fields[b"i"].decode())
        return Event(
            id=identity.hex,
            known=known,
            outcome=fields[b"o"].decode(),
            # A demo call really ran now, and is shown at the past instant for which its id was minted.
            finished_ms=_shown_ms(identity, extra) if known.demo else int(fields[b"t"]),
            units=msgpack.unpackb(fields[b"q"]),
            rated=_read_rated(fields[b"r"].decode()),
            charge=int(fields[b"c"]),
            extra=extra,
        )
    except (KeyError, TypeError, ValueError, msgpack.UnpackException) as error:
        raise EventUnreadable(reason=repr(error)) from error


# The calls of a lease with one key say the same, byte for byte, thousands of times over.
@lru_cache(maxsize=10_000)
def _read_known(packed: bytes) -> KnownFacts:
    return KnownFacts(*msgpack.unpackb(packed))


def _shown_ms(identity: UUID, extra: Mapping[str, Any]) -> int:
    return (identity.int >> 80) + (extra.get("latency_ms") or 0)


def copy_row(event: Event) -> str:
    """A line of COPY's text format, in the order of `COLUMNS`, and the day of admission."""
    known, extra, units = event.known, event.extra, event.units
    seconds, ms = divmod(event.finished_ms, 1000)
    return (
        f"{event.id}\t{_second(seconds)}.{ms:03}+00\t{_known_columns(known)}\t{event.outcome}\t"
        f"{units.get('requests', 0)}\t{units.get('input_tokens', 0)}\t{units.get('output_tokens', 0)}\t"
        f"{units.get('cached_tokens', 0)}\t{units.get('images', 0)}\t{units.get('compute_ms', 0)}\t"
        f"{_rated_json(event.rated)}\t{event.charge}\t{known.currency}\t{_optional(extra.get('ttft_ms'))}\t"
        f"{_optional(extra.get('latency_ms'))}\t{_escape(extra.get('worker', ''))}\t"
        f"{_escape(extra.get('finish_reason', ''))}\t{known.demo}\t"
        f"{bool(extra.get('estimated'))}\t{_escape(extra.get('reason', ''))}\t{_report(extra)}\t{event.day}\n"
    )


@lru_cache(maxsize=10_000)
def _known_columns(known: KnownFacts) -> str:
    return "\t".join([*known[:8], str(_optional(known.key)), _escape(known.endpoint), str(known.streamed)])


@lru_cache(maxsize=1_000)
def _date(days: int) -> date:
    return _EPOCH + timedelta(days=days)


@lru_cache(maxsize=1_000)
def _second(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, tz=UTC):%Y-%m-%d %H:%M:%S}"


COLUMNS = (
    "id", "finished_at", "organisation_id", "provider_id", "subscription_id", "listing_id", "version_id",
    "plan_version_id", "period_id", "lease_id", "api_key_id", "endpoint", "streamed", "outcome", *METERS,
    "rated", "charge", "currency", "ttft_ms", "latency_ms", "worker", "finish_reason", "demo",
    "estimated", "reason", "report",
)  # fmt: skip


def _read_rated(text: str) -> tuple[Rated, ...]:
    parts = (item.split(" ") for item in text.split(",") if item)
    return tuple(
        Rated(meter, int(position), int(units), int(charge)) for meter, position, units, charge in parts
    )


def _rated_json(rated: tuple[Rated, ...]) -> str:
    inner = ",".join(f'"{line.meter}":[{line.position},{line.units},{line.charge}]' for line in rated)
    return f"{{{inner}}}"


def _report(extra: Mapping[str, Any]) -> str:
    report = extra.get("report")
    # Numbers and truth values under our own names: nothing in it needs an escape.
    return "\\N" if report is None else json.dumps(report)


def _optional(value: object) -> object:
    return "\\N" if value is None else value


def _escape(value: str) -> str:
    if value.isprintable() and "\\" not in value:
        return value
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
