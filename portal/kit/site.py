"""What the environment says of the site itself: its address, secrets, sender and money, parsed strictly.

Needs no Django, as `portal.kit.environment`.
"""

import logging
import os
import re
from collections.abc import Mapping
from email.utils import parseaddr
from urllib.parse import urlsplit

from portal.kit.environment import WrongSetting, listed, number, port, redis_url

VERIFICATIONS = ("optional", "mandatory", "none")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# Whoever guesses it signs sessions. What common tools make of 24 random bytes and more has this length.
SECRET_LENGTH, SECRET_LETTERS = 32, 5
EVERYTHING_BASIS_POINTS = 10_000
# Pages show a quarter of calls, and an invoice is checked against the calls of its month.
LEAST_EVENT_DAYS = 93
# ISO 4217, the currencies in use.
_CURRENCIES = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL
LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP
PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT
TND TOP TRY TTD TWD TZS UAH UGX USD UYI UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
"""
CURRENCIES = frozenset(_CURRENCIES.split())
_HOST = re.compile(r"\*|\.?[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\.?|\[[0-9a-f:.]{2,45}\]", re.IGNORECASE)


def choice(
    name: str, options: tuple[str, ...], *, default: str, environment: Mapping[str, str] = os.environ
) -> str:
    """One of a few words, in any case."""
    value = environment.get(name, "").strip()
    for option in options:
        if (value or default).lower() == option.lower():
            return option
    raise WrongSetting(name, f"{name} must be one of {', '.join(options)}, not {value!r}.")


def log_level(*, environment: Mapping[str, str] = os.environ) -> str:
    """LOG_LEVEL: from which level on the log is written."""
    assert all(level in logging.getLevelNamesMapping() for level in LEVELS)
    return choice("LOG_LEVEL", LEVELS, default="INFO", environment=environment)


def email_verification(*, environment: Mapping[str, str] = os.environ) -> str:
    """EMAIL_VERIFICATION: whether an address is proved before its owner may go on."""
    return choice("EMAIL_VERIFICATION", VERIFICATIONS, default="optional", environment=environment)


def secret_key(*, environment: Mapping[str, str] = os.environ) -> str | None:
    """SECRET_KEY, or None where it is not set. The sentence never repeats it."""
    value = environment.get("SECRET_KEY", "").strip()
    if not value:
        return None
    if len(value) < SECRET_LENGTH or len(set(value)) < SECRET_LETTERS:
        make = "python -c 'import secrets; print(secrets.token_urlsafe(50))'"
        raise WrongSetting(
            "SECRET_KEY",
            f"SECRET_KEY must be a random text of {SECRET_LENGTH} letters or more: make one with `{make}`.",
        )
    return value


def allowed_hosts(*, environment: Mapping[str, str] = os.environ) -> list[str]:
    """ALLOWED_HOSTS: the names under which the site answers."""
    hosts = listed("ALLOWED_HOSTS", default="127.0.0.1,localhost,[::1]", environment=environment)
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise WrongSetting(
                "ALLOWED_HOSTS",
                f"ALLOWED_HOSTS must be host names separated by commas, without scheme or port; {host!r} is none.",
            )
    return hosts


def public_url(*, environment: Mapping[str, str] = os.environ) -> str:
    """PUBLIC_URL: where people reach the site, without a slash at the end."""
    value = environment.get("PUBLIC_URL", "").strip().rstrip("/")
    if not value:
        return f"http://127.0.0.1:{port(environment=environment)}"
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        whole = not (parts.username or parts.query or parts.fragment or parts.path)
    except ValueError:
        good = whole = False
    if not (good and whole):
        raise WrongSetting(
            "PUBLIC_URL",
            f"PUBLIC_URL must be like https://models.example.org, without a path, not {value!r}.",
        )
    return value


def sender(*, environment: Mapping[str, str] = os.environ) -> str:
    """DEFAULT_FROM_EMAIL: whom mail comes from."""
    value = environment.get("DEFAULT_FROM_EMAIL", "").strip() or "Mercato <no-reply@localhost>"
    _, address = parseaddr(value)
    local, _, domain = address.rpartition("@")
    if not local or not domain or "\n" in value:
        raise WrongSetting(
            "DEFAULT_FROM_EMAIL",
            f"DEFAULT_FROM_EMAIL must be like Mercato <no-reply@example.org>, not {value!r}.",
        )
    return value


def broker_url(*, environment: Mapping[str, str] = os.environ) -> str:
    """CELERY_BROKER_URL, or REDIS_URL where it is not set. The sentence never repeats the URL."""
    value = environment.get("CELERY_BROKER_URL", "").strip()
    if not value:
        return redis_url(environment=environment)
    try:
        parts = urlsplit(value)
        good = parts.scheme in {"redis", "rediss", "amqp", "amqps"} and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise WrongSetting(
            "CELERY_BROKER_URL",
            "CELERY_BROKER_URL must be like redis://host:6379/0 or amqp://user:password@host.",
        )
    return value


def commission_basis_points(*, environment: Mapping[str, str] = os.environ) -> int:
    """COMMISSION_BASIS_POINTS: the operator's share of gross; 10,000 are all of it."""
    share = number("COMMISSION_BASIS_POINTS", default=1000, environment=environment)
    if share > EVERYTHING_BASIS_POINTS:
        raise WrongSetting(
            "COMMISSION_BASIS_POINTS",
            f"COMMISSION_BASIS_POINTS must be from 0 to {EVERYTHING_BASIS_POINTS}, which is all of it, not {share}.",
        )
    return share


def usage_event_days(*, environment: Mapping[str, str] = os.environ) -> int:
    """USAGE_EVENT_DAYS: for how many days single calls are kept; 0 for ever. Sums and money always are."""
    days = number("USAGE_EVENT_DAYS", default=0, environment=environment)
    if 0 < days < LEAST_EVENT_DAYS:
        raise WrongSetting(
            "USAGE_EVENT_DAYS",
            f"USAGE_EVENT_DAYS must be 0, which keeps all, or {LEAST_EVENT_DAYS} and more, not {days}.",
        )
    return days


def currency(*, environment: Mapping[str, str] = os.environ) -> str:
    """CURRENCY: that in which plans are priced, by its code in ISO 4217."""
    value = environment.get("CURRENCY", "").strip() or "USD"
    if value not in CURRENCIES:
        raise WrongSetting("CURRENCY", f"CURRENCY must be a code of ISO 4217 such as USD, not {value!r}.")
    return value
