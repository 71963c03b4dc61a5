"""What is wrong with the environment, found out before anything starts."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
import redis
from psycopg import pq
from psycopg.conninfo import make_conninfo

from portal.embedded.locations import REPOSITORY
from portal.kit import environment as env
from portal.kit import redis_fitness
from portal.supervisor.processes import list_programs

PATIENCE_S = 5
_READ_SETTINGS = """
import sys
from portal.kit.environment import WrongSetting
try:
    import portal.settings
except WrongSetting as error:
    sys.exit(str(error))
"""


class CannotStart(Exception):
    """Mercato cannot start; `str(error)` is one clear sentence."""


@dataclass(frozen=True)
class Checked:
    """What the environment gives; a URL is None where the embedded server takes its place."""

    port: int
    database_url: str | None
    redis_url: str | None
    warnings: tuple[str, ...] = ()


def check(environment: Mapping[str, str]) -> Checked:
    """Parse what `make up` reads, and reach the servers that are named. Raises CannotStart."""
    try:
        port = env.port(environment=environment)
        check_host(environment.get("HOST", "127.0.0.1"))
        list_programs(environment)
        env.mail(environment=environment)
        env.redis_memory_bytes(environment=environment)
        database_url, redis_url = environment.get("DATABASE_URL"), environment.get("REDIS_URL")
        if database_url:
            reach_database(environment)
        warnings = reach_redis(env.redis_url(environment=environment)) if redis_url else ()
        check_settings(environment)
    except env.WrongSetting as error:
        raise CannotStart(str(error)) from None
    return Checked(
        port=port, database_url=database_url or None, redis_url=redis_url or None, warnings=warnings
    )


def check_host(host: str) -> None:
    """Whether HOST is an address that a server of this machine can have."""
    try:
        with socket.socket() as probe:
            probe.bind((host, 0))
    except OSError:
        raise env.WrongSetting("HOST", f"HOST must be an address of this machine, not {host!r}.") from None


def check_settings(environment: Mapping[str, str]) -> None:
    """Read Django's settings as every process will, so that none of them finds a wrong one first.

    In a process of its own, since this one needs no Django, and with a home of its own, since settings make secrets.
    """
    stand_ins = {"DATABASE_URL": "postgresql://nobody@localhost/nothing", "REDIS_URL": "redis://localhost"}
    with tempfile.TemporaryDirectory() as home:
        asked = subprocess.run(
            [sys.executable, "-c", _READ_SETTINGS],
            cwd=REPOSITORY,
            env={
                **stand_ins,
                **{name: value for name, value in environment.items() if value},
                "MERCATO_HOME": home,
            },
            capture_output=True,
            text=True,
            check=False,
        )
    if asked.returncode:
        raise CannotStart(asked.stderr.strip())


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


def reach_redis(url: str) -> tuple[str, ...]:
    """Ask the Redis of REDIS_URL what it is. Answers what it puts at risk, in sentences."""
    client = redis.Redis.from_url(
        url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S, retry=None
    )
    try:
        fitness = redis_fitness.examine(client.info())
    except (redis.RedisError, OSError) as error:
        raise CannotStart(f"the Redis of REDIS_URL cannot be used: {_one_line(error)}.") from None
    finally:
        client.close()
    if fitness.refusal:
        raise CannotStart(fitness.refusal)
    return fitness.warnings


def _one_line(error: Exception) -> str:
    """What a driver says, without its line breaks and its full stop."""
    return " ".join(str(error).split()).rstrip(".")
