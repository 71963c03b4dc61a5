"""Is the site alive, can it serve, what does it count."""

from collections.abc import Callable

import redis.exceptions
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from inference import protocol
from portal.kit import redis as kit_redis


def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """The database, Redis and at least one worker answer; 503 and which of them does not, otherwise."""
    checks = {"database": _check(_ask_database), "redis": _check(_ask_redis), "worker": _check(_ask_worker)}
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse({"ready": ready, **checks}, status=200 if ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus counters of this process."""
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _check(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (DatabaseError, redis.exceptions.RedisError) as error:
        return f"does not answer: {type(error).__name__}"


def _ask_database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _ask_redis() -> str:
    kit_redis.client().ping()
    return "ok"


def _ask_worker() -> str:
    client = kit_redis.client()
    members = [member.decode() for member in client.smembers(protocol.WORKERS) if isinstance(member, bytes)]
    names = [protocol.worker_key(member) for member in members]
    alive = any(names) and any(value is not None for value in client.mget(names))
    return "ok" if alive else "no worker is running"
