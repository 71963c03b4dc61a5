"""Work of the `jobs` process: doors to activities, one child process per task."""

from datetime import timedelta
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded

from portal.celery import app

TRIAL_SECONDS = 540
# A trial that kills its process is tried once more, in case something else was to blame.
TRIAL_ATTEMPTS = 2
# A version that is still being checked after this long has lost its task.
LOST_TRIAL = timedelta(minutes=20)


@app.task(
    name="inference.try_version", acks_late=True, reject_on_worker_lost=True,
    soft_time_limit=TRIAL_SECONDS, time_limit=TRIAL_SECONDS + 30,
)  # fmt: skip
def try_version(version_id: str) -> None:
    """Load and run a version that is `checking`, and record what was seen. Safe to repeat."""
    from inference import trial
    from marketplace import publishing
    from marketplace.models import Version
    from marketplace.validation import Finding

    version = Version.objects.select_related("listing").get(pk=UUID(version_id))
    if version.state != Version.State.CHECKING:
        return
    try:
        if _count_attempt(version_id) > TRIAL_ATTEMPTS:
            message = "Trying this version ended its process, so it needs more memory than there is."
            seen = trial.Trial(
                ok=False, findings=[Finding(file="", rule="trial-died", severity="error", message=message)]
            )
        elif version.is_remote:
            seen = trial.ask(version)
        else:
            seen = trial.run(version)
    except SoftTimeLimitExceeded:
        message = f"Loading and one tiny request took more than {TRIAL_SECONDS} s."
        seen = trial.Trial(
            ok=False, findings=[Finding(file="", rule="trial-time", severity="error", message=message)]
        )
    publishing.record_trial(version.pk, ok=seen.ok, findings=seen.findings)


@app.task(name="inference.close_stale_workers")
def close_stale_workers() -> None:
    """Close the records of workers that died."""
    from inference.worker import mirror
    from portal.kit import redis

    mirror.close_stale(redis.client())


@app.task(name="inference.retry_lost_trials")
def retry_lost_trials() -> None:
    """Send versions to be tried again whose task was lost with its broker."""
    from marketplace.models import Version
    from portal.kit import clock, queue

    lost = Version.objects.filter(state=Version.State.CHECKING, created_at__lt=clock.now() - LOST_TRIAL)
    for version_id in lost.values_list("pk", flat=True):
        queue.enqueue("inference.try_version", str(version_id))


@app.task(name="inference.sweep_uploads")
def sweep_uploads() -> None:
    """Delete what expired uploads left behind, and weights that nothing names any more."""
    from marketplace import uploads, weights
    from portal.kit import clock

    uploads.sweep(clock.now())
    weights.reclaim(clock.now())


@app.task(name="inference.rewrite_redis_file")
def rewrite_redis_file() -> None:
    """Take prompts and answers that have expired off Redis' disk."""
    from portal.kit import redis_file

    redis_file.rewrite()


def _count_attempt(version_id: str) -> int:
    from portal.kit import redis

    key = f"inference:trial:{version_id}"
    pipeline = redis.client().pipeline()
    pipeline.incr(key)
    pipeline.expire(key, 24 * 3600)
    count: int = pipeline.execute()[0]
    return count
