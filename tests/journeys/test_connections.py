"""Pages take a connection to Postgres for as long as they work, and leave none behind."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.journeys.test_worker_death import services
from tests.stack import Stack

pytestmark = pytest.mark.stack
AT_ONCE, ROUNDS = 16, 12
# Other processes of the site come and go: the meter, jobs, the mirror of a worker.
OTHERS = 4


def count(connection: psycopg.Connection) -> int:
    """Connections of clients to the site's database, this one not counted."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def test_requests_of_pages_keep_no_connection(stack: Stack) -> None:
    reader = stack.sign_up("hurried@example.com")
    with psycopg.connect(services(stack)["DATABASE_URL"], autocommit=True) as watching:
        before, counts = count(watching), []

        def browse(_: int) -> None:
            for path in ("/", "/console/", "/api/keys/"):
                assert reader.web.get(path).status_code == 200

        with ThreadPoolExecutor(AT_ONCE) as threads:
            hurry = [threads.submit(browse, number) for number in range(AT_ONCE * ROUNDS)]
            while not all(each.done() for each in hurry):
                counts.append(count(watching))
                time.sleep(0.02)
            for each in hurry:
                each.result()
        assert max(counts) > before, "nobody was seen to work"
        assert max(counts) <= before + AT_ONCE + OTHERS
        deadline = time.monotonic() + 30
        while count(watching) > before + OTHERS:
            assert time.monotonic() < deadline, "connections stay"
            time.sleep(0.1)
