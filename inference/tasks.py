"""Work of the `jobs` process: doors to activities, one child process per task."""

from uuid import UUID

from portal.celery import app

TRIAL_SECONDS = 540
# 64 GB at the pace of a slow disk.
READING_SECONDS = 3600


@app.task(
    name="inference.examine_next", acks_late=True, reject_on_worker_lost=True,
    soft_time_limit=READING_SECONDS, time_limit=READING_SECONDS + 30,
)  # fmt: skip
def examine_next() -> None:
    """Verify and read the files of the version whose turn it is."""
    from inference import examinations
    from marketplace.models import Examination

    examinations.run(Examination.Stage.FILES)


@app.task(
    name="inference.try_next", acks_late=True, reject_on_worker_lost=True,
    soft_time_limit=TRIAL_SECONDS, time_limit=TRIAL_SECONDS + 30,
)  # fmt: skip
def try_next() -> None:
    """Try the version, or call the endpoint, whose turn it is."""
    from inference import examinations
    from marketplace.models import Examination

    examinations.run(Examination.Stage.TRIAL)


@app.task(name="inference.resume_examinations")
def resume_examinations() -> None:
    """Call for what waits though nobody works on it: its message was lost, or the process that had it has died."""
    from marketplace import examinations

    examinations.call_on()


def try_version(version_id: str) -> None:
    """Load and run a version that is `checking`, and record what was seen. Safe to repeat."""
    from inference import examinations
    from marketplace.models import Version

    examinations.try_version(Version.objects.select_related("listing").get(pk=UUID(version_id)))


@app.task(name="inference.close_stale_workers")
def close_stale_workers() -> None:
    """Close the records of workers that died."""
    from inference.worker import mirror
    from portal.kit import redis

    mirror.close_stale(redis.client())


@app.task(name="inference.sweep_uploads")
def sweep_uploads() -> None:
    """Delete what expired uploads left behind, and weights that nothing names any more."""
    from marketplace import examinations, uploads, weights
    from portal.kit import clock

    uploads.sweep(clock.now())
    examinations.sweep()
    weights.reclaim(clock.now())


@app.task(name="inference.rewrite_redis_file")
def rewrite_redis_file() -> None:
    """Take prompts and answers that have expired off Redis' disk."""
    from portal.kit import redis_file

    redis_file.rewrite()
