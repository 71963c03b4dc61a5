"""What beat sends, how often (seconds), all of it to the `jobs` queue. The meter reaps lapsed calls by itself."""

from typing import TypedDict

from portal.kit.redis_file import REWRITE_SECONDS


class Entry(TypedDict):
    """One line of Celery's beat schedule. `expires`: a late one is not worth doing twice."""

    task: str
    schedule: float
    options: dict[str, float]


def every(seconds: float, task: str) -> Entry:
    return {"task": task, "schedule": seconds, "options": {"expires": seconds}}


SCHEDULE: dict[str, Entry] = {
    "close stale workers": every(60, "inference.close_stale_workers"),
    "resume examinations": every(15, "inference.resume_examinations"),
    "measure called listings": every(60, "billing.measure_recent"),
    "measure all listings": every(3600, "billing.measure_known"),
    "keep prominent listings": every(3600, "marketplace.refresh_prominence"),
    "forget expired texts": every(REWRITE_SECONDS, "inference.rewrite_redis_file"),
    "rebuild cards": every(60, "marketplace.rebuild_cards"),
    "clear expired sessions": every(86_400, "accounts.clear_sessions"),
    "drop expired usage events": every(86_400, "billing.drop_expired_events"),
    "sweep expired uploads": every(3600, "inference.sweep_uploads"),
}
