"""A Postgres that stands still without a word stops nobody for long."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg_pool
import pytest

from portal.kit import environment, postgres
from portal.kit.postgres import PatientConnection


@pytest.fixture
def connection() -> Iterator[PatientConnection]:
    with PatientConnection.connect(os.environ["DATABASE_URL"], autocommit=True) as made:
        yield made


@contextmanager
def frozen(*connections: psycopg.Connection) -> Iterator[None]:
    """Backends that neither answer nor hang up, for as long as a block."""
    backends = [each.info.backend_pid for each in connections]
    for backend in backends:
        os.kill(backend, signal.SIGSTOP)
    try:
        yield
    finally:
        for backend in backends:
            os.kill(backend, signal.SIGCONT)


def test_a_query_that_is_never_answered_ends_and_closes_the_connection(
    connection: PatientConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PatientConnection, "_patience", 0.2)
    with frozen(connection), pytest.raises(psycopg.OperationalError, match="did not answer in time"):
        connection.execute("SELECT 1")
    assert connection.closed


def test_a_slow_statement_is_ended_by_the_server(connection: PatientConnection) -> None:
    row = connection.execute("SHOW statement_timeout").fetchone()
    assert row == (f"{postgres.STATEMENT_SECONDS}s",)


def test_a_pool_replaces_a_connection_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "CHECK_SECONDS", 0.2)
    options = environment.database_pool()["pool"] | {"max_size": 2}
    with psycopg_pool.ConnectionPool(
        os.environ["DATABASE_URL"], check=psycopg_pool.ConnectionPool.check_connection, open=True,
        kwargs={"autocommit": True}, **options,
    ) as pool:  # fmt: skip
        with pool.connection() as first:
            assert isinstance(first, PatientConnection)
        with frozen(first), pool.connection() as second:
            assert second.execute("SELECT 1").fetchone() == (1,)
            assert second is not first


def test_every_process_finds_out_that_the_machine_of_postgres_is_gone() -> None:
    url = "postgresql://u:p@db/mercato?tcp_user_timeout=5000"
    options = environment.database(environment={"DATABASE_URL": url})["OPTIONS"]
    assert options["keepalives_idle"] == 30
    assert str(options["tcp_user_timeout"]) == "5000", "the operator's own word counts"
