"""A call without a whole answer is recorded with why."""

import pytest

from billing import reasons, recording
from billing.models import UsageEvent
from billing.reasons import Reason
from tests.billing.events import make_event

pytestmark = pytest.mark.usefixtures("books")


def test_the_noted_reason_of_a_failure_is_kept_with_its_event() -> None:
    extra = {"finish_reason": "failed", "reason": "worker_lost"}
    recording.record([make_event(outcome="failed", extra=extra), make_event()], shard=0)
    failed = UsageEvent.objects.get(outcome="failed")
    assert (failed.reason, failed.why) == ("worker_lost", Reason.WORKER_LOST)
    assert UsageEvent.objects.get(outcome="succeeded").why is None


@pytest.mark.parametrize(
    ("outcome", "finish_reason", "noted", "reason"),
    [
        ("succeeded", "stop", "", None),
        ("failed", "failed", "no_worker", Reason.NO_WORKER),
        ("failed", "refused", "queue_full", Reason.QUEUE_FULL),
        ("failed", "refused", "", Reason.REFUSED),
        ("failed", "error", "", Reason.RUN_FAILED),
        ("failed", "upstream timeout", "", Reason.UPSTREAM_TIMEOUT),
        ("failed", "interrupted", "", Reason.INTERRUPTED),
        ("failed", "stop", "", Reason.WRITTEN_OFF),
        ("cancelled", "cancelled", "", Reason.CALLER_LEFT),
        ("cancelled", "revoked", "", Reason.REVOKED),
        ("failed", "what an older release wrote", "", Reason.WRITTEN_OFF),
    ],
)
def test_events_from_before_reasons_were_noted_are_read_by_how_they_finished(
    outcome: str, finish_reason: str, noted: str, reason: Reason | None
) -> None:
    assert reasons.of(outcome, finish_reason, noted) is reason
