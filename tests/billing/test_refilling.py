"""Refills leave no connection to Postgres behind, in whatever way they end."""

import asyncio
import time
from collections.abc import Set

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from billing.credit.admission import Admission
from billing.errors import StaleFacts
from billing.models import Lease, LeaseGrant
from portal.kit import clock
from tests.billing.shop import Caller, open_shop


@sync_to_async
def sessions() -> Set[int]:
    """Processes of Postgres that serve this database, other than this thread's own."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return {row[0] for row in cursor.fetchall()}


async def until_gone(before: Set[int]) -> None:
    """Until no session is left that was not there before: one that was closed goes a moment later."""
    deadline = time.monotonic() + 5
    while left := await sessions() - before:
        assert time.monotonic() < deadline, f"sessions {left} stay"
        await asyncio.sleep(0.05)


@sync_to_async
def granted() -> int:
    return LeaseGrant.objects.get(limit="requests").granted


async def opened(admission: Admission) -> Caller:
    shop = await sync_to_async(open_shop)(components={"requests": (1000, None, 1)})
    return Caller(admission, await sync_to_async(shop.facts)())


async def test_a_refill_closes_its_connection(admission: Admission) -> None:
    caller = await opened(admission)
    before, first = await sessions(), await granted()
    await caller.admit(requests=500)
    assert await granted() > first
    await until_gone(before)


async def test_a_refill_that_is_refused_closes_its_connection(admission: Admission) -> None:
    caller = await opened(admission)
    before = await sessions()
    await sync_to_async(Lease.objects.update)(closed_at=clock.now())
    with pytest.raises(StaleFacts):
        await caller.admit(requests=500)
    await until_gone(before)


async def test_refills_whose_callers_have_gone_end_with_the_door(admission: Admission) -> None:
    callers = [await opened(admission) for _ in range(8)]
    before = await sessions()
    calls = [asyncio.create_task(caller.admit(requests=500)) for caller in callers]
    await asyncio.sleep(0.02)
    for call in calls:
        call.cancel()
    admission.close()
    await asyncio.gather(*calls, return_exceptions=True)
    await until_gone(before)
