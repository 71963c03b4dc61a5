"""Why a retry under a key that was used before gets no answer. None of these costs anything.

The statuses are those of the IETF's draft on the Idempotency-Key header; stock clients retry a 409.
"""

from inference.gateway.errors import CallError


class KeyForAnotherCall(CallError):
    status = 422
    code = "idempotency_key_reused"
    message = "This Idempotency-Key was sent with another request before. Use a new key for every call."


class FirstStillRuns(CallError):
    status = 409
    code = "idempotency_key_in_use"
    message = "The first call with this Idempotency-Key is still running. Retry to get its answer."


class FirstWasInterrupted(CallError):
    """The process that waited for the first call is gone, and nobody can say whether its call was charged."""

    status = 422
    code = "idempotency_key_interrupted"
    message = (
        "The first call with this Idempotency-Key was interrupted, and its answer is lost. Your request log says "
        "whether it cost anything; use a new key to call again."
    )


class AnswerTooLarge(CallError):
    status = 422
    code = "idempotency_answer_too_large"
    message = (
        "The first call with this Idempotency-Key was answered, and its answer was too large to be kept."
    )


class AnswerDropped(CallError):
    """It was dropped for others, or has expired; the entry is kept for longer, so that nothing runs twice."""

    status = 422
    code = "idempotency_answer_dropped"
    message = (
        "The first call with this Idempotency-Key was answered, and its answer is no longer kept. Your request log "
        "says what it cost; use a new key to call again."
    )


class TooManyKeys(CallError):
    """Each key is remembered for a while, and that takes memory that all share."""

    status = 429
    code = "idempotency_keys_exhausted"
    type = "rate_limit_exceeded"
    message = (
        "Too many calls with an Idempotency-Key were made within the last {seconds} seconds. Retry later, or call "
        "without a key."
    )
