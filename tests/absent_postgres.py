"""A Postgres that takes no new connection to the test database, for as long as a block."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection


@contextmanager
def absent() -> Iterator[None]:
    name = connection.settings_dict["NAME"]
    connection.close()
    _limit(name, 0)
    try:
        yield
    finally:
        _limit(name, -1)


def _limit(name: str, connections: int) -> None:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as other:
        other.execute(f'ALTER DATABASE "{name}" CONNECTION LIMIT {connections}')
