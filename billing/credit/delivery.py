"""Who charges must also deliver: charges whose ends nobody can have received are reversed.

A *reader* is a web process that finals are sent to, named by its reply stream. The settlement script notes each charged
call with its reader; the reader confirms a call once it has handed the end on, be it to the client's connection or to
where a retry finds it. When a reader has died, what it has not confirmed cannot have reached anyone: the reaper writes
a reversing event for each, an event of its own with negative units that the books take like any other.

What died with its client's connection half written counts as undelivered: in doubt, nobody pays.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgpack
from django.core.exceptions import ObjectDoesNotExist

from billing.credit import keys, leases, scripting
from billing.credit.settlement import FinishFacts
from billing.errors import LeaseUnavailable
from billing.models import BillingPeriod, UsageEvent
from billing.reasons import Reason
from billing.reversals import reversal_of
from portal.kit import redis
from portal.kit.errors import PortalError

# Longer than a hold lives unrenewed, so that what its reader's death ended by itself is over by then.
READER_SECONDS = 15.0
# No process is silent for so long and still alive.
FORGET_SECONDS = 3600.0
_AT_ONCE = 500
# In `events.KnownFacts`.
_PERIOD_OF_FACTS, _LEASE_OF_FACTS = 6, 7
_EXTRA = FinishFacts(finish_reason="reversed", reason=Reason.REVERSED)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """What the settlement script keeps of a charged call until it is delivered. `rated` maps meters to units."""

    lease_key: str
    facts: list[Any]
    quantities: Mapping[str, int]
    rated: Mapping[str, int]
    budgets: Sequence[str]


def renew(client: Any, reader: str) -> Any:
    """Say that a reader lives. Any client or pipeline."""
    return scripting.send(client, "delivering", [keys.READERS], [reader, int(READER_SECONDS * 1000)])


def confirmation(reader: str, requests: Sequence[str]) -> tuple[Any, ...]:
    """The Redis command by which a reader confirms calls, by their ids in hex."""
    return ("HDEL", keys.undelivered(reader), *requests)


def reverse_undelivered(*, by_ms: int) -> list[UUID]:
    """Reverse what readers that were to be heard of by then have not confirmed. Answers the calls."""
    client = redis.client()
    silent: Any = client.zrangebyscore(keys.READERS, 0, by_ms, start=0, num=_AT_ONCE)
    reversed_calls: list[UUID] = []
    for reader in (each.decode() for each in silent):
        reversed_calls += _reverse_all(reader)
        departing = [reader, int(FORGET_SECONDS * 1000)]
        scripting.run(client, "departing", [keys.READERS, keys.undelivered(reader)], departing)
    return reversed_calls


def _reverse_all(reader: str) -> Iterator[UUID]:
    for field, packed in list(redis.client().hscan_iter(keys.undelivered(reader))):
        request_id = UUID(hex=field.decode())
        try:
            _reverse(reader, request_id, _read(packed))
        except PortalError as error:
            # Redis has just come back, or a lease was closed in this moment; it stays for the next round.
            log.warning("the charge of %s waits to be reversed: %s", request_id, error)
        except (ValueError, TypeError, LookupError, msgpack.UnpackException, ObjectDoesNotExist):
            log.exception("the charge of %s cannot be reversed; the others are", request_id)
        else:
            yield request_id


def _reverse(reader: str, request_id: UUID, note: Note) -> None:
    reversal = reversal_of(request_id)
    if UsageEvent.objects.filter(pk=reversal).exists():
        # Redis has come back with an old memory.
        redis.client().hdel(keys.undelivered(reader), request_id.hex)
        return
    if _run(reader, request_id, reversal, note) == b"closed":
        # The lease that it was settled under is gone, and its usage is in the books: so it is under the next one.
        period = BillingPeriod.objects.select_related("subscription").get(
            pk=UUID(hex=note.facts[_PERIOD_OF_FACTS])
        )
        leases.open_for(period.subscription, period.starts)
        if _run(reader, request_id, reversal, note) == b"closed":
            raise LeaseUnavailable


def _run(reader: str, request_id: UUID, reversal: UUID, note: Note) -> Any:
    held: Any = redis.client().hget(note.lease_key, "lease")
    lease = held.decode() if held else ""
    facts = [*note.facts]
    facts[_LEASE_OF_FACTS] = lease
    script_keys = [keys.undelivered(reader), note.lease_key, keys.USAGE_STREAM, *note.budgets]
    args: list[Any] = [
        request_id.hex, reversal.hex, lease, msgpack.packb(facts),
        msgpack.packb({meter: -units for meter, units in note.quantities.items()}), msgpack.packb(_EXTRA),
    ]  # fmt: skip
    for meter, units in note.rated.items():
        args += [meter, units]
    return scripting.run(redis.client(), "reversing", script_keys, args)


def _read(packed: bytes) -> Note:
    lease_key, facts, quantities, rated, budgets = msgpack.unpackb(packed, raw=True)
    lines = (line.split(" ") for line in rated.decode().split(",") if line)
    return Note(
        lease_key=lease_key.decode(), facts=msgpack.unpackb(facts), quantities=msgpack.unpackb(quantities),
        rated={meter: int(units) for meter, _, units, _ in lines}, budgets=budgets.decode().split(),
    )  # fmt: skip
