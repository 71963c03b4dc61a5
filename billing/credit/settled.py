"""What became of a settlement whose answer was lost on the way."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from billing.credit import keys
from billing.models import UsageEvent

# Far more than a meter leaves on the stream for the moments that a reconnection takes.
_LOOK_BACK = 20_000

Run = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]


async def find(run: Run, request_id: UUID) -> tuple[int, bytes] | None:
    """Charge and outcome of the call's event, None if there is none."""
    return (await find_all(run, [request_id])).get(request_id)


async def find_all(run: Run, request_ids: Collection[UUID]) -> Mapping[UUID, tuple[int, bytes]]:
    """Charge and outcome of the calls that have events. `run` executes one Redis command.

    First on the usage stream, then in Postgres: events leave the one only when they are in the other.
    Raises `redis.RedisError` and Django's database errors.
    """
    (entries,) = await run(("XREVRANGE", keys.USAGE_STREAM, "+", "-", "COUNT", _LOOK_BACK))
    wanted = {request_id.hex.encode(): request_id for request_id in request_ids}
    found: dict[UUID, tuple[int, bytes]] = {}
    for _, flat in entries:
        fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        if fields[b"i"] in wanted:
            found[wanted[fields[b"i"]]] = int(fields[b"c"]), bytes(fields[b"o"])
    rest = [request_id for request_id in request_ids if request_id not in found]
    return {**(await asyncio.to_thread(_recorded, rest)), **found} if rest else found


def _recorded(request_ids: Sequence[UUID]) -> dict[UUID, tuple[int, bytes]]:
    try:
        rows = UsageEvent.objects.filter(pk__in=request_ids).values_list("pk", "charge", "outcome")
        return {UUID(str(pk)): (charge, outcome.encode()) for pk, charge, outcome in rows}
    finally:
        connection.close()
