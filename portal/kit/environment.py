"""What the environment says, parsed strictly. Needs no Django: `portal.up` reads it before there is any."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import dj_database_url
import redis.connection

from portal.kit.postgres import PatientConnection

WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
POSTGRES = "django.db.backends.postgresql"
# Below this, the calls of a small site would be refused soon.
REDIS_LEAST_BYTES = 64 * 2**20
# Long enough for a burst to pass, short enough for whoever waits.
POOL_TIMEOUT_SECONDS = 3
# Seconds, and milliseconds of the last: a server whose machine is gone says nothing, and is found out by these.
KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
SMTP_PORTS = {"none": 25, "tls": 587, "ssl": 465}


class WrongSetting(ValueError):
    """An environment variable is missing or wrong; `str(error)` is one clear sentence."""

    def __init__(self, name: str, sentence: str) -> None:
        self.name = name
        super().__init__(sentence)


def flag(name: str, *, default: bool, environment: Mapping[str, str] = os.environ) -> bool:
    """A boolean: 1, true, yes, on or 0, false, no, off."""
    value = environment.get(name, "").strip().lower()
    if value and value not in WORDS:
        raise WrongSetting(name, f"{name} must be 1 or 0, not {value!r}.")
    return WORDS[value] if value else default


def number(name: str, *, default: int, at_least: int = 0, environment: Mapping[str, str] = os.environ) -> int:
    """A whole number."""
    value = environment.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdecimal()) or int(value) < at_least:
        least = f" from {at_least} up" if at_least else ""
        raise WrongSetting(name, f"{name} must be a whole number{least}, not {value!r}.")
    return int(value)


def listed(name: str, *, default: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """A comma-separated list."""
    return [item.strip() for item in environment.get(name, default).split(",") if item.strip()]


def port(*, environment: Mapping[str, str] = os.environ) -> int:
    """PORT, 8000 where it is not set."""
    value = environment.get("PORT", "").strip() or "8000"
    if not (value.isascii() and value.isdecimal()) or not 0 < int(value) < 2**16:
        raise WrongSetting("PORT", f"PORT must be a number from 1 to 65535, not {value!r}.")
    return int(value)


def web_processes(*, environment: Mapping[str, str] = os.environ) -> int:
    """WEB_PROCESSES: how many processes serve the site on this machine."""
    return number("WEB_PROCESSES", default=1, at_least=1, environment=environment)


def connections_per_address(*, environment: Mapping[str, str] = os.environ) -> int:
    """CONNECTIONS_PER_ADDRESS: how many connections one address may have open to one web process."""
    return number("CONNECTIONS_PER_ADDRESS", default=1000, at_least=1, environment=environment)


def drain_seconds(*, environment: Mapping[str, str] = os.environ) -> int:
    """WORKER_DRAIN_SECONDS: how long a worker that is told to stop lets its calls run on."""
    return number("WORKER_DRAIN_SECONDS", default=120, environment=environment)


def redis_memory_bytes(*, environment: Mapping[str, str] = os.environ) -> int:
    """REDIS_MEMORY_BYTES: the limit of the embedded Redis; 0 where it is left to choose a share by itself."""
    return number("REDIS_MEMORY_BYTES", default=0, at_least=REDIS_LEAST_BYTES, environment=environment)


def database(*, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """DATABASE_URL as Django's settings of a database. The sentence never repeats the URL: it has a password."""
    example = "such as postgresql://user:password@host:5432/mercato"
    url = environment.get("DATABASE_URL")
    if not url:
        raise WrongSetting(
            "DATABASE_URL",
            f"DATABASE_URL is not set. `make up` starts the embedded Postgres; or name your own, {example}.",
        )
    try:
        found: dict[str, Any] = dict(dj_database_url.parse(url))
    except ValueError:
        found = {}
    if found.get("ENGINE") != POSTGRES or not found.get("NAME"):
        raise WrongSetting("DATABASE_URL", f"DATABASE_URL must be the URL of a Postgres database, {example}.")
    options = KEEPALIVE | found.get("OPTIONS", {})
    return found | {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}


def database_pool(*, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """DATABASE_POOL_SIZE as Django's options of a database whose connections threads share. One that broke is replaced
    before it is handed out; where Postgres is away, whoever asks starts a new attempt.
    """
    size = number("DATABASE_POOL_SIZE", default=20, at_least=1, environment=environment)
    patience = {"timeout": POOL_TIMEOUT_SECONDS, "reconnect_timeout": POOL_TIMEOUT_SECONDS}
    pool = {"min_size": 1, "max_size": size, "connection_class": PatientConnection, **patience}
    return {"connect_timeout": POOL_TIMEOUT_SECONDS, "pool": pool}


def redis_url(*, environment: Mapping[str, str] = os.environ) -> str:
    """REDIS_URL, once it has been seen to be one."""
    example = "such as redis://host:6379/0"
    url = environment.get("REDIS_URL")
    if not url:
        raise WrongSetting(
            "REDIS_URL",
            f"REDIS_URL is not set. `make up` starts the embedded Redis; or name your own, {example}.",
        )
    try:
        redis.connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise WrongSetting("REDIS_URL", f"REDIS_URL must be the URL of a Redis, {example}.") from None
    return url


@dataclass(frozen=True)
class Mail:
    """How mail leaves. `security`: `none`, `tls` (STARTTLS) or `ssl` (from the first byte)."""

    backend: str = "django.core.mail.backends.console.EmailBackend"
    host: str = "localhost"
    port: int = 25
    user: str = ""
    password: str = field(default="", repr=False)
    security: str = "none"


def mail(*, environment: Mapping[str, str] = os.environ) -> Mail:
    """EMAIL_URL; without one, mail is printed to the log."""
    url = environment.get("EMAIL_URL", "").strip()
    if not url or url == "console:":
        return Mail()
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        given_port, security = parts.port, _read_security(query)
        if security is None or parts.scheme != "smtp" or not parts.hostname or parts.path not in {"", "/"}:
            raise ValueError(url)
    except ValueError:
        example = "smtp://user:password@host:587/?tls=true (or ?ssl=true)"
        raise WrongSetting("EMAIL_URL", f"EMAIL_URL must be like {example}.") from None
    return Mail(
        backend="django.core.mail.backends.smtp.EmailBackend",
        host=parts.hostname,
        port=given_port or SMTP_PORTS[security],
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        security=security,
    )


def _read_security(query: dict[str, list[str]]) -> str | None:
    """What `?tls=` and `?ssl=` ask for; None where the query says something else."""
    said = {name: WORDS.get(values[-1].lower()) for name, values in query.items()}
    if set(said) - {"tls", "ssl"} or None in said.values() or all(map(said.get, ("tls", "ssl"))):
        return None
    return next((name for name, on in said.items() if on), "none")
