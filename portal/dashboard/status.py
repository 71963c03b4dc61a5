"""How the site does, in people's words: its parts, and what of each task can be called now.

Anyone may ask, so a process looks at most every few seconds, however many do; and it needs neither Postgres nor Redis
to say that they are away.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import redis.exceptions
from django.db import DatabaseError, connection
from django.db.models import F, Sum
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from billing.credit import keys
from billing.models import UsageRollup
from inference import roll_call
from inference.protocol import WorkerState
from marketplace import catalogue
from marketplace.models import Task, Version
from portal.kit import clock
from portal.kit import redis as kit_redis

State = Literal["well", "slow", "away"]
KEPT_SECONDS = 5.0
# Usage is recorded within a second; this late people notice.
LATE_SECONDS = 10.0
# Of this many failed calls in the last hour or more, and at least one in ten, people hear.
FEWEST_FAILED, ONE_IN = 3, 10

_WELL: Mapping[str, str | Promise] = {
    "database": _("Accounts, subscriptions and the catalogue are there."),
    "queue": _("Calls are taken and passed on."),
    "recording": _("Calls show on usage pages within a second."),
}
_AWAY: Mapping[str, str | Promise] = {
    "database": _("The database does not answer: signing in, subscribing and searching do not work. Calls that are under way go on."),
    "queue": _("The queue does not answer: no call is taken at the moment. Nothing is charged for refused calls."),
    "recording": _("It is not known how far recording is. Nothing is lost: what was used is recorded later."),
}  # fmt: skip
_NO_WORKER = _("No worker runs: only models on their providers' own servers answer.")


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the site, and what that means for whoever uses it."""

    title: str | Promise
    state: State
    text: str | Promise


@dataclass(frozen=True, slots=True)
class TaskState:
    """What of a task can be called: `loaded` models of it, and how its calls of the last hour went."""

    task: str
    state: State
    loaded: int
    answered: int
    failed: int

    @property
    def label(self) -> str:
        return str(Task(self.task).label)


@dataclass(frozen=True, slots=True)
class Report:
    """`tasks` is None where it cannot be known."""

    at: datetime
    parts: tuple[Part, ...]
    tasks: tuple[TaskState, ...] | None

    @property
    def state(self) -> State:
        """The worst of them."""
        states = {part.state for part in self.parts} | {task.state for task in self.tasks or ()}
        return "away" if "away" in states else "slow" if "slow" in states else "well"


class Latest:
    """The report of this process, and when it was made. One look at a time; the others are shown the last one."""

    def __init__(self, look: Callable[[], Report]) -> None:
        self._look, self._lock = look, threading.Lock()
        self._report: Report | None = None
        self._until = 0.0

    def get(self) -> Report:
        if self._report is not None and time.monotonic() < self._until:
            return self._report
        if not self._lock.acquire(blocking=self._report is None):
            assert self._report is not None
            return self._report
        try:
            self._report = self._look()
            self._until = time.monotonic() + KEPT_SECONDS
            return self._report
        finally:
            self._lock.release()


def look() -> Report:
    """Everything, asked now."""
    workers = _asked(lambda: roll_call.present(kit_redis.client()))
    parts = (
        Part(_("Website"), "well", _("It answers; you are reading it.")),
        _part("database", _("Accounts and catalogue"), _ask_database),
        _part("queue", _("Call queue"), lambda: kit_redis.client().ping()),
        _workers_part(workers),
        _recording_part(),
    )
    return Report(clock.now(), parts, _asked(lambda: _tasks(workers or [])))


latest = Latest(look)


def _asked(ask: Callable[[], Any]) -> Any:
    """None where Postgres or Redis is away: the parts say so themselves."""
    try:
        return ask()
    except (DatabaseError, redis.exceptions.RedisError):
        return None


def _part(name: str, title: str | Promise, ask: Callable[[], object]) -> Part:
    answered = _asked(ask) is not None
    return Part(title, "well" if answered else "away", _WELL[name] if answered else _AWAY[name])


def _ask_database() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def _workers_part(workers: list[WorkerState] | None) -> Part:
    title = _("Workers")
    if workers is None:
        return Part(title, "away", _("It is not known which workers run, while the queue does not answer."))
    taking = [worker for worker in workers if not worker.stopping]
    if not taking:
        return Part(title, "away", _NO_WORKER)
    running = ngettext_lazy("%d worker runs models.", "%d workers run models.", len(taking)) % len(taking)
    return Part(title, "well", running)


def _recording_part() -> Part:
    title = _("Usage and costs")
    late = _asked(_late_seconds)
    if late is None:
        return Part(title, "away", _AWAY["recording"])
    if late > LATE_SECONDS:
        text = _("Usage pages are behind by more than %(n)s seconds. Nothing is lost.") % {
            "n": int(LATE_SECONDS)
        }
        return Part(title, "slow", text)
    return Part(title, "well", _WELL["recording"])


def _late_seconds() -> float:
    """How long the oldest call that is not recorded yet has ended."""
    oldest: Any = kit_redis.client().xrange(keys.USAGE_STREAM, count=1)
    if not oldest:
        return 0.0
    ended_ms = int(oldest[0][0].split(b"-")[0])
    return clock.now().timestamp() - ended_ms / 1000


def _tasks(workers: list[WorkerState]) -> tuple[TaskState, ...]:
    """Of the tasks that a published model does."""
    loaded, calls = _loaded(workers), _calls()
    return tuple(
        _task(task, loaded=loaded[task], has_worker=bool(workers), calls=calls.get(task, (0, 0)))
        for task in Task.values
        if catalogue.live().filter(task=task).exists()
    )


def _task(task: str, *, loaded: int, has_worker: bool, calls: tuple[int, int]) -> TaskState:
    answered, failed = calls
    fails = failed >= FEWEST_FAILED and failed * ONE_IN >= answered + failed
    if fails and not answered:
        state: State = "away"
    elif fails:
        state = "slow"
    else:
        state = "well" if has_worker or answered else "away"
    return TaskState(task, state, loaded, answered, failed)


def _loaded(workers: list[WorkerState]) -> Counter[str]:
    """How many models of each task are ready on a worker."""
    ready = {
        UUID(replica.version) for worker in workers for replica in worker.replicas if replica.state == "ready"
    }
    return Counter(Version.objects.filter(pk__in=ready).values_list("task", flat=True))


def _calls() -> Mapping[str, tuple[int, int]]:
    """Answered and failed calls of each task in this hour and the one before."""
    since = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    sums = UsageRollup.objects.filter(hour__gte=since).values(task=F("version__task"))
    found = sums.annotate(answered=Sum("requests"), broken=Sum("failed")).order_by()
    return {row["task"]: (row["answered"], row["broken"]) for row in found}
