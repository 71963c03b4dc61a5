"""However many pages are asked for at once, a web process has a bounded number of connections to Postgres."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.journeys.test_worker_death import services
from tests.stack import Stack

pytestmark = pytest.mark.stack
# More at once than the pool has connections: some wait for those of others.
AT_ONCE, ROUNDS, POOL = 40, 6, 20
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


def test_a_crowd_of_readers_shares_the_connections_of_a_pool(stack: Stack) -> None:
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
        assert max(counts) <= before + POOL + OTHERS
