"""Is the site alive, can it serve, what does it count."""

from collections.abc import Callable

import redis.exceptions
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST

from inference import roll_call
from portal.dashboard import metrics as site_metrics
from portal.kit import redis as kit_redis
from portal.kit import redis_fitness, supervision


def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return HttpResponse("ok\n", content_type="text/plain")


def readyz(request: HttpRequest) -> JsonResponse:
    """The database, Redis, at least one worker and the services of this process do well, and Redis takes calls; 503 and
    which of them do not, otherwise. Warnings are of what would be lost, and keep nobody away.
    """
    failing = supervision.failing()
    checks = {
        "process": f"fails at: {', '.join(failing)}" if failing else "ok",
        "database": _check(_ask_database),
        "redis": _check(_ask_redis),
        "worker": _check(_ask_worker),
    }
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse({"ready": ready, **checks, "warnings": _warn()}, status=200 if ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Figures of the whole site for Prometheus, read now; sums that name no organisation."""
    return HttpResponse(site_metrics.render(), content_type=CONTENT_TYPE_LATEST)


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
    return _examine().refusal or redis_fitness.find_obstacle() or "ok"


def _warn() -> list[str]:
    try:
        return list(_examine().warnings)
    except redis.exceptions.RedisError:
        return []


def _examine() -> redis_fitness.Fitness:
    return redis_fitness.examine(kit_redis.client().info())


def _ask_worker() -> str:
    return "ok" if roll_call.present(kit_redis.client()) else "no worker is running"
