"""What is wrong with the environment, found out before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
import redis
from psycopg import pq
from psycopg.conninfo import make_conninfo

from portal.kit import environment as env
from portal.kit import outbound
from portal.supervisor.processes import list_programs

PATIENCE_S = 5


class CannotStart(Exception):
    """Mercato cannot start; `str(error)` is one clear sentence."""


@dataclass(frozen=True)
class Checked:
    """What the environment gives; a URL is None where the embedded server takes its place."""

    port: int
    database_url: str | None
    redis_url: str | None


def check(environment: Mapping[str, str]) -> Checked:
    """Parse what `make up` reads, and reach the servers that are named. Raises CannotStart."""
    try:
        port = env.port(environment=environment)
        list_programs(environment)
        env.mail(environment=environment)
        env.redis_memory_bytes(environment=environment)
        outbound.read(environment)
        database_url, redis_url = environment.get("DATABASE_URL"), environment.get("REDIS_URL")
        if database_url:
            reach_database(environment)
        if redis_url:
            reach_redis(env.redis_url(environment=environment))
    except env.WrongSetting as error:
        raise CannotStart(str(error)) from None
    return Checked(port=port, database_url=database_url or None, redis_url=redis_url or None)


def reach_database(environment: Mapping[str, str]) -> None:
    """Connect once to the Postgres of DATABASE_URL, as Django will."""
    found = env.database(environment=environment)
    env.database_pool(environment=environment)
    # Django takes some options for itself; those of the connection are libpq's.
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    options = {name: value for name, value in found.get("OPTIONS", {}).items() if name in known}
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "dbname"}
    terms = {libpq: found[django] for django, libpq in names.items() if found[django]}
    try:
        psycopg.connect(make_conninfo(**{"connect_timeout": PATIENCE_S} | options | terms)).close()
    except psycopg.Error as error:
        raise CannotStart(f"the Postgres of DATABASE_URL cannot be used: {_one_line(error)}.") from None


def reach_redis(url: str) -> None:
    """Ask the Redis of REDIS_URL for a sign of life."""
    client = redis.Redis.from_url(
        url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=None
    )
    try:
        client.ping()
    except (redis.RedisError, OSError) as error:
        raise CannotStart(f"the Redis of REDIS_URL cannot be used: {_one_line(error)}.") from None
    finally:
        client.close()


def _one_line(error: Exception) -> str:
    """What a driver says, without its line breaks and its full stop."""
    return " ".join(str(error).split()).rstrip(".")
