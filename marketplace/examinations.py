"""The line of what is to be examined: in `jobs`, one at a time of each organisation, and organisations in turn.

A message in the queue says only that something waits; whoever gets it takes what is next. So a flood of one
organisation delays the others by one examination, and a lost message delays nothing for long.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from django.db import close_old_connections, connection, transaction
from django.db.models import F, Max, OuterRef, Q, QuerySet, Subquery

from marketplace.errors import TooManyExaminations
from marketplace.models import EndpointTrial, Examination, Version
from portal.accounts.models import Organisation
from portal.kit import clock, queue

Stage, Step = Examination.Stage, Examination.Step

# Of one organisation, under way and waiting.
MOST_WAITING = 10
LEASE = timedelta(seconds=30)
BEAT_SECONDS = 5.0
# Work that ends its process is done once more, in case something else was to blame.
MOST_ATTEMPTS = 2
MESSAGES = {Stage.FILES: "inference.examine_next", Stage.TRIAL: "inference.try_next"}

log = logging.getLogger(__name__)


def enter(
    organisation: Organisation,
    *,
    stage: str,
    version: Version | None = None,
    endpoint: EndpointTrial | None = None,
) -> Examination:
    """Put it into the line. Raises `TooManyExaminations`."""
    with transaction.atomic():
        Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
        waiting = Examination.objects.filter(organisation=organisation, ended_at=None).count()
        if waiting >= MOST_WAITING:
            raise TooManyExaminations(organisation=organisation.name, most=MOST_WAITING)
        made = Examination.objects.create(
            organisation=organisation, stage=stage, version=version, endpoint=endpoint
        )
        queue.enqueue(MESSAGES[Stage(stage)])
    return made


def move_on(version: Version) -> None:
    """The version's files are sound: next it is tried. One that has been in no line enters it."""
    again = {
        "stage": Stage.TRIAL, "step": Step.WAITING, "attempts": 0, "done_bytes": 0, "total_bytes": 0,
        "held_by": None, "held_until": None,
    }  # fmt: skip
    Examination.objects.update_or_create(
        version=version,
        defaults=again,
        create_defaults=again | {"organisation": version.listing.organisation},
    )
    queue.enqueue(MESSAGES[Stage.TRIAL])


def end(**subject: Version | EndpointTrial) -> None:
    """Nothing more is to be found out."""
    Examination.objects.filter(ended_at=None, **subject).update(
        ended_at=clock.now(), held_by=None, held_until=None
    )


def take(stage: str) -> Examination | None:
    """The next one, now held by this process; None where nothing may be begun."""
    now = clock.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('examinations', 0))")
        found = _waiting(stage).first()
        if found is None:
            return None
        found.attempts += 1
        found.begun_at, found.held_by, found.held_until = now, uuid4(), now + LEASE
        found.save(update_fields=["attempts", "begun_at", "held_by", "held_until"])
    return found


def _waiting(stage: str) -> QuerySet[Examination]:
    """What may be begun: of those organisations of which nothing is under way, who waited longest for a turn first."""
    now = clock.now()
    under_way = Examination.objects.filter(ended_at=None, held_until__gte=now)
    turns = Examination.objects.filter(organisation=OuterRef("organisation")).values("organisation")
    last = Subquery(turns.annotate(last=Max("begun_at")).values("last"))
    waiting = Examination.objects.filter(
        Q(held_until=None) | Q(held_until__lt=now), stage=stage, ended_at=None
    )
    return (
        waiting.exclude(organisation__in=under_way.values("organisation"))
        .annotate(last_turn=last)
        .order_by(F("last_turn").asc(nulls_first=True), "queued_at", "pk")
    )


@contextmanager
def held(examination: Examination) -> Iterator[None]:
    """Keeps others from it for as long as this process lives, and gives it back if it has not ended."""
    gone = threading.Event()
    beating = threading.Thread(target=_beat, args=(examination, gone), daemon=True)
    beating.start()
    try:
        yield
    finally:
        gone.set()
        beating.join()
        _mine(examination).update(held_by=None, held_until=None, step=Step.WAITING)
        call_on()


def _beat(examination: Examination, gone: threading.Event) -> None:
    while not gone.wait(BEAT_SECONDS):
        close_old_connections()
        if not _mine(examination).update(held_until=clock.now() + LEASE):
            log.warning("%s was taken up by another process", examination)
            break
    connection.close()


def _mine(examination: Examination) -> QuerySet[Examination]:
    return Examination.objects.filter(pk=examination.pk, held_by=examination.held_by, ended_at=None)


def note(examination: Examination, step: str, *, done_bytes: int = 0, total_bytes: int = 0) -> None:
    """What is being done now, for whoever watches."""
    _mine(examination).update(step=step, done_bytes=done_bytes, total_bytes=total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is being done; while it waits, how many of its organisation are before it; bytes where they are counted."""

    step: str
    ahead: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


def progress_of(subject: Version | EndpointTrial) -> Progress | None:
    """None for what is in no line, or no longer."""
    column = "version" if isinstance(subject, Version) else "endpoint"
    examination = Examination.objects.filter(ended_at=None, **{column: subject}).first()
    if examination is None:
        return None
    return Progress(
        step=examination.step,
        ahead=_ahead_of(examination) if examination.step == Step.WAITING else 0,
        done_bytes=examination.done_bytes,
        total_bytes=examination.total_bytes,
    )


def _ahead_of(examination: Examination) -> int:
    before = Q(queued_at__lt=examination.queued_at) | Q(held_until__gte=clock.now())
    mine = Examination.objects.filter(organisation=examination.organisation_id, ended_at=None)
    return mine.filter(before).exclude(pk=examination.pk).count()


def call_on() -> int:
    """Send a message for each stage at which something may be begun; how many that were."""
    stages = [stage for stage in Stage if _waiting(stage).exists()]
    for stage in stages:
        queue.enqueue(MESSAGES[stage])
    return len(stages)


def sweep() -> None:
    """Forget trials of endpoints of yesterday."""
    EndpointTrial.objects.filter(created_at__lt=clock.now() - timedelta(days=1)).delete()
