"""Why a call failed, or was ended before its answer was whole: the codes that its usage event keeps."""

from enum import StrEnum


class Reason(StrEnum):
    """`upstream_*` are faults of a provider's own server, by `inference.remote.faults.Kind`."""

    REFUSED = "refused"
    QUEUE_FULL = "queue_full"
    NOT_BEGUN = "not_begun"
    NO_WORKER = "no_worker"
    LOAD_FAILED = "load_failed"
    WORKER_STOPPING = "worker_stopping"
    WORKER_LOST = "worker_lost"
    RUN_FAILED = "run_failed"
    RUN_TOO_LONG = "run_too_long"
    INTERRUPTED = "interrupted"
    UNDELIVERED = "undelivered"
    REVERSED = "reversed"
    WRITTEN_OFF = "written_off"
    REVOKED = "revoked"
    CALLER_LEFT = "caller_left"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_FORBIDDEN = "upstream_forbidden"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_BROKEN = "upstream_broken"
    UPSTREAM_REFUSED = "upstream_refused"
    UPSTREAM_REJECTED = "upstream_rejected"
    UPSTREAM_OVERLOADED = "upstream_overloaded"
    UPSTREAM_FAILING = "upstream_failing"


_CODES = frozenset(reason.value for reason in Reason)
# What the finish reason of an event says where nothing finer was noted.
_BY_FINISH = {
    "refused": Reason.REFUSED, "revoked": Reason.REVOKED, "interrupted": Reason.INTERRUPTED,
    "error": Reason.RUN_FAILED, "failed": Reason.INTERRUPTED,
}  # fmt: skip


def of(outcome: str, finish_reason: str, noted: str) -> Reason | None:
    """The reason of an event, None for an answered call. A failed one with the finish reason of an answer lost its
    lease before it was recorded.
    """
    if outcome == "succeeded":
        return None
    code = noted or finish_reason.replace("upstream ", "upstream_")
    if code in _CODES:
        return Reason(code)
    return _BY_FINISH.get(finish_reason) or (
        Reason.WRITTEN_OFF if outcome == "failed" else Reason.CALLER_LEFT
    )
