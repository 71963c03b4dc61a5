"""Identifiers: UUIDv7 inside, `prefix_` and 26 Crockford base-32 digits outside.

A UUIDv7 starts with its time of birth, so ids sort by age and a table can be partitioned by them.
"""

from datetime import UTC, datetime
from uuid import UUID

from uuid6 import uuid7 as _uuid7

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_DIGITS)}
_LENGTH = 26


def uuid7() -> UUID:
    """A new time-ordered id."""
    return UUID(int=_uuid7().int)


def encode(value: UUID) -> str:
    """26 lower-case digits; sorts like the id itself."""
    number = value.int
    return "".join(_DIGITS[(number >> shift) & 31] for shift in range(125, -1, -5))


def decode(text: str) -> UUID:
    """The id that `encode` wrote. Raises `ValueError` for anything else."""
    if len(text) != _LENGTH:
        raise ValueError("an id has 26 characters after its prefix")
    number = 0
    for character in text.lower():
        if character not in _VALUES:
            raise ValueError(f"{character!r} does not occur in ids")
        number = number << 5 | _VALUES[character]
    if number >> 128:
        raise ValueError("the id is out of range")
    return UUID(int=number)


def public(prefix: str, value: UUID) -> str:
    """`req_01k...` for the prefix "req"."""
    return f"{prefix}_{encode(value)}"


def parse(prefix: str, text: str) -> UUID:
    """The id behind a public one. Raises `ValueError` if the prefix differs."""
    head, _, tail = text.partition("_")
    if head != prefix:
        raise ValueError(f"expected an id that starts with {prefix}_")
    return decode(tail)


def born(value: UUID) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp((value.int >> 80) / 1000, tz=UTC)


def first_at(moment: datetime) -> UUID:
    """The smallest UUIDv7 of a moment, none being older than 1970: the lower bound of a time range over ids."""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << 80)
