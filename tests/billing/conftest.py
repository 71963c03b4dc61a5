"""Billing's tests commit for real: Redis and other threads must see the rows."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.db import connection, connections

from billing.credit.admission import Admission
from tests.billing.shop import new_admission


@pytest.fixture
def books(transactional_db: None, clean_redis: None) -> None:
    """Empty books. The partitioned facts are no managed model, so Django's flush leaves them."""
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE usage_event")


@pytest_asyncio.fixture
async def admission(books: None) -> AsyncIterator[Admission]:
    door, client = new_admission()
    yield door
    door.close()
    await client.aclose()
    await sync_to_async(connections.close_all)()
