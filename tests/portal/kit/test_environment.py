"""What the environment says is parsed strictly; what is wrong is named in one sentence without secrets."""

import os
import smtplib
import subprocess
import sys
from collections.abc import Callable

import pytest

from portal.kit import environment as env
from portal.kit import site
from portal.supervisor.processes import list_programs

CONSOLE = "django.core.mail.backends.console.EmailBackend"


@pytest.mark.parametrize("word", ["0", "false", "No", " off "])
def test_every_way_of_saying_no_keeps_the_demo_world_away(word: str) -> None:
    assert "demo" not in {program.name for program in list_programs({"MERCATO_DEMO": word})}


@pytest.mark.parametrize("word", ["", "1", "true", "YES", "on"])
def test_the_demo_world_is_built_otherwise(word: str) -> None:
    assert "demo" in {program.name for program in list_programs({"MERCATO_DEMO": word})}


def test_a_switch_that_is_neither_is_refused() -> None:
    with pytest.raises(env.WrongSetting, match="MERCATO_DEMO must be 1 or 0, not 'maybe'"):
        list_programs({"MERCATO_DEMO": "maybe"})


@pytest.mark.parametrize(
    "url",
    [
        "hello",
        "mysql://u:hush@h/db",
        "sqlite:///file",
        "postgresql://u:hush@h:port/db",
        "postgresql://u:hush@h:99999/db",
        "postgresql://u:hush@h:5432",
    ],
)
def test_a_database_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(
        env.WrongSetting, match="DATABASE_URL must be the URL of a Postgres database"
    ) as caught:
        env.database(environment={"DATABASE_URL": url})
    assert "hush" not in str(caught.value)


def test_a_web_process_has_a_pool_of_the_size_that_the_environment_says() -> None:
    assert env.database_pool(environment={})["pool"]["max_size"] == 20
    assert env.database_pool(environment={"DATABASE_POOL_SIZE": "7"})["pool"]["max_size"] == 7
    for wrong in ("0", "many"):
        with pytest.raises(env.WrongSetting, match="DATABASE_POOL_SIZE must be a whole number from 1 up"):
            env.database_pool(environment={"DATABASE_POOL_SIZE": wrong})


@pytest.mark.parametrize("url", ["localhost:6379", "http://h/0", "redis://h:port/0"])
def test_a_redis_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(env.WrongSetting, match="REDIS_URL must be the URL of a Redis"):
        env.redis_url(environment={"REDIS_URL": url})


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5", "²"])
def test_a_number_of_processes_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(env.WrongSetting, match="WEB_PROCESSES must be a whole number from 1 up"):
        list_programs({"WEB_PROCESSES": given})


def test_mail_is_printed_until_a_server_is_named() -> None:
    assert env.mail(environment={}).backend == CONSOLE


@pytest.mark.parametrize(
    ("query", "port", "security"),
    [
        ("", smtplib.SMTP_PORT, "none"),
        ("/", smtplib.SMTP_PORT, "none"),
        ("/?tls=true", 587, "tls"),
        ("?ssl=1", smtplib.SMTP_SSL_PORT, "ssl"),
        ("/?ssl=0&tls=1", 587, "tls"),
    ],
)
def test_a_mail_server_is_read_from_its_url(query: str, port: int, security: str) -> None:
    mail = env.mail(environment={"EMAIL_URL": f"smtp://me%40x.org:p%2Fw@mail.x.org{query}"})
    assert (mail.host, mail.port, mail.security) == ("mail.x.org", port, security)
    assert (mail.user, mail.password) == ("me@x.org", "p/w")
    assert "p/w" not in repr(mail)
    assert mail.backend != CONSOLE


@pytest.mark.parametrize(
    "url",
    [
        "mail.x.org",
        "http://mail.x.org",
        "smtp://",
        "smtp://h:port",
        "smtp://h/?tls=perhaps",
        "smtp://h/?tls",
        "smtp://h/?tls=1&ssl=1",
        "smtp://h/?starttls=1",
        "smtp://u:hush@h/inbox",
    ],
)
def test_a_mail_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(env.WrongSetting, match="EMAIL_URL must be like smtp://") as caught:
        env.mail(environment={"EMAIL_URL": url})
    assert "hush" not in str(caught.value)


def ask_settings(expression: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What an expression is in the settings of a process with this environment."""
    own = {"DATABASE_URL": "postgresql://u@h/db", "REDIS_URL": "redis://h", "SECRET_KEY": "k3yz-" * 11}
    command = [sys.executable, "-c", f"from portal import settings as s; print({expression})"]
    return subprocess.run(
        command, env=os.environ | own | environment, capture_output=True, text=True, check=False
    )


def test_django_is_told_of_the_mail_server() -> None:
    url = "smtp://me:word@mail.x.org:2525/?tls=true"
    asked = "s.EMAIL_BACKEND.split('.')[-2], s.EMAIL_HOST, s.EMAIL_PORT, s.EMAIL_HOST_USER, s.EMAIL_USE_TLS, s.EMAIL_USE_SSL"
    said = ask_settings(asked, EMAIL_URL=url)
    assert said.stdout.strip() == "smtp mail.x.org 2525 me True False", said.stderr


@pytest.mark.parametrize(
    ("read", "name", "wrong", "right"),
    [
        (site.commission_basis_points, "COMMISSION_BASIS_POINTS", ["20000", "-1", "10%"], ["0", "10000"]),
        (site.currency, "CURRENCY", ["dollars", "usd", "XXX", "$"], ["USD", "JPY", "CNY"]),
        (site.secret_key, "SECRET_KEY", ["x", "a" * 60, "short-0123456789"], ["k3y-" * 12 + "ab"]),
        (site.log_level, "LOG_LEVEL", ["LOUD", "7"], ["debug", "WARNING"]),
        (site.email_verification, "EMAIL_VERIFICATION", ["maybe"], ["mandatory", "none"]),
        (
            site.allowed_hosts,
            "ALLOWED_HOSTS",
            ["https://x.org", "x.org:8000", "a b"],
            ["x.org,.y.org", "*", "[::1]", "10.0.0.1"],
        ),
        (
            site.public_url,
            "PUBLIC_URL",
            ["x.org", "ftp://x.org", "https://x.org/shop", "https://u:p@x.org", "https://x.org:port"],
            ["https://x.org/", "http://10.0.0.1:8000"],
        ),
        (
            site.sender,
            "DEFAULT_FROM_EMAIL",
            ["Mercato", "a@", "a@b\nBcc: c@d"],
            ["Shop <a@x.org>", "a@x.org"],
        ),
        (
            site.broker_url,
            "CELERY_BROKER_URL",
            ["hello", "http://h", "redis://h:port"],
            ["amqp://u:p@h", "redis://h"],
        ),
    ],
)
def test_what_the_site_is_told_of_itself_is_read_strictly(
    read: Callable[..., object], name: str, wrong: list[str], right: list[str]
) -> None:
    read(environment={"REDIS_URL": "redis://h"})
    for value in wrong:
        with pytest.raises(env.WrongSetting, match=f"^{name} must be "):
            read(environment={name: value})
    for value in right:
        assert read(environment={name: value}) is not None


def test_a_guessable_secret_is_not_repeated() -> None:
    with pytest.raises(env.WrongSetting) as caught:
        site.secret_key(environment={"SECRET_KEY": "hush"})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "EMAIL_URL", "PORT"])
def test_settings_end_with_the_same_sentence(name: str) -> None:
    last_line = ask_settings("s.PORT", **{name: "hello"}).stderr.strip().splitlines()[-1]
    assert last_line.startswith(f"portal.kit.environment.WrongSetting: {name} must be ")
