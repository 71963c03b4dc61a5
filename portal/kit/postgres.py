"""Connections to Postgres on which nobody waits without end: for the pools of web processes."""

from typing import Any, Self

import psycopg
from psycopg.errors import (
    _WaitTimeout,
)  # the class has no public name; tests/portal/kit/test_postgres.py holds to it

# Of a page's query on the server; a slower one is a fault of ours, and holds a connection that others wait for.
STATEMENT_SECONDS = 15
# Beyond that, for the answer to arrive: a server that was frozen, or a network that swallows, sends no error.
QUERY_SECONDS = STATEMENT_SECONDS + 5
CHECK_SECONDS = 3


class PatientConnection(psycopg.Connection[Any]):
    """A connection that gives up, and closes, when the server does not answer in time.

    Raises `psycopg.OperationalError`, as for a connection that was lost.
    """

    _patience: float = QUERY_SECONDS

    @classmethod
    def connect(cls, *arguments: Any, **options: Any) -> Self:
        """As psycopg's, in autocommit mode (as Django's pool wants it), with a limit for statements."""
        connection = super().connect(*arguments, **options)
        connection.execute(f"SET statement_timeout = '{STATEMENT_SECONDS}s'")
        return connection

    def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
        """As psycopg's. An empty query is the pool's question whether the server is still there: that is soon answered."""
        if query:
            return super().execute(query, *arguments, **options)
        self._patience = CHECK_SECONDS
        try:
            return super().execute(query, *arguments, **options)
        finally:
            self._patience = QUERY_SECONDS

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Take an operation to its end within `timeout` seconds."""
        try:
            return super().wait(gen, interval, self._patience if timeout is None else timeout)
        except _WaitTimeout:
            self.close()
            raise psycopg.OperationalError("Postgres did not answer in time") from None
