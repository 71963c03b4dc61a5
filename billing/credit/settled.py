"""What became of a settlement whose answer was lost on the way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from billing.credit import keys
from billing.models import UsageEvent

# Far more than a meter leaves on the stream for the moments that a reconnection takes.
_LOOK_BACK = 20_000

Run = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]


async def find(run: Run, request_id: UUID) -> tuple[int, bytes] | None:
    """Charge and outcome of the call's event, None if there is none. `run` executes one Redis command.

    First on the usage stream, then in Postgres: events leave the one only when they are in the other.
    Raises `redis.RedisError` and Django's database errors.
    """
    (entries,) = await run(("XREVRANGE", keys.USAGE_STREAM, "+", "-", "COUNT", _LOOK_BACK))
    wanted = request_id.hex.encode()
    for _, flat in entries:
        fields = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        if fields[b"i"] == wanted:
            return int(fields[b"c"]), bytes(fields[b"o"])
    return await asyncio.to_thread(_recorded, request_id)


def _recorded(request_id: UUID) -> tuple[int, bytes] | None:
    try:
        row = UsageEvent.objects.filter(pk=request_id).values_list("charge", "outcome").first()
    finally:
        connection.close()
    return None if row is None else (row[0], row[1].encode())
