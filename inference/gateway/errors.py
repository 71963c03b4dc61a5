"""Every refusal of the data plane, worded and shaped as OpenAI's: `{"error": {message, type, param, code}}`."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from portal.kit.errors import PortalError, as_size

_TYPES = {401: "invalid_request_error", 429: "rate_limit_exceeded"}
# Codes that our own activities raise, and the words that clients of OpenAI look for instead.
_CODES = dict.fromkeys(("listing_withdrawn", "listing_taken_down", "version_not_ready"), "model_not_found")
# Statuses that stock clients would misread: they retry 409, and know no 410.
_STATUSES = dict.fromkeys(_CODES, 404) | {"budget_currency_mismatch": 400}

_WITH_FACTS = {"insufficient_quota", "rate_limit_exceeded"}
_ABOUT_THE_MODEL = {"model_not_found", "not_subscribed", "unsupported_model"}


class CallError(PortalError):
    """A refusal with OpenAI's `type`; `param` names the offending parameter, `retry_after` is in seconds.

    `request_id` is the public id of the call that failed, where one had been admitted.
    """

    type: ClassVar[str] = "invalid_request_error"
    usual_param: ClassVar[str | None] = None
    request_id: str | None = None

    def __init__(self, *, param: str | None = None, retry_after: float | None = None, **data: Any) -> None:
        super().__init__(**data)
        self.param = param or self.usual_param
        self.retry_after = retry_after


class InvalidRequest(CallError):
    """A parameter is wrong; `code` may be one of OpenAI's finer ones."""

    message = "{reason}"

    def __init__(self, reason: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(reason=reason, param=param)
        self.fine_code = code


class UnsupportedParameter(CallError):
    code = "unsupported_parameter"
    message = "{reason}"

    def __init__(self, name: str | None, *, reason: str = "") -> None:
        reason = reason or f"'{name}' is not supported here, and leaving it out would change the result."
        super().__init__(reason=reason, param=name)


class NotJson(CallError):
    code = "invalid_json"
    message = "We could not parse the JSON body of your request: {reason}."


class BodyTooLarge(CallError):
    status = 413
    code = "request_too_large"
    message = "The request body is larger than the limit of {limit}. Send less in one call."
    shows = {"limit": as_size}


class UnsupportedMediaType(CallError):
    status = 415
    code = "unsupported_media_type"
    message = (
        "The request body must be JSON, but is '{kind}'. Send the header Content-Type: application/json."
    )


class UnsupportedEncoding(CallError):
    status = 415
    code = "unsupported_content_encoding"
    message = (
        "The Content-Encoding '{encoding}' is not supported. Send the body as it is, or as gzip or deflate."
    )


class SlowBody(CallError):
    status = 408
    code = "request_timeout"
    message = "The request body did not arrive within {seconds} seconds."


class UnknownUrl(CallError):
    status = 404
    code = "unknown_url"
    message = "Unknown request URL: {method} {path}. {advice}"


class MethodNotAllowed(CallError):
    status = 405
    code = "method_not_supported"
    message = "Not allowed to {method} on {path}. Use {allowed}."


class MissingKey(CallError):
    status = 401
    code = "invalid_api_key"
    message = "You didn't provide an API key. Send it in the header Authorization: Bearer mk_..."


class WrongKey(CallError):
    status = 401
    code = "invalid_api_key"
    message = "Incorrect API key provided: {shown}. It may have been revoked or have expired."


class KeyLacksScope(CallError):
    status = 403
    code = "insufficient_permissions"
    message = "This API key may not call models: it lacks the scope `inference`."


class ModelNotFound(CallError):
    status = 404
    code = "model_not_found"
    message = "The model `{model}` does not exist or you do not have access to it."


class NoSuchPrediction(CallError):
    status = 404
    code = "prediction_not_found"
    message = "There is no prediction `{id}`, or it is not yours, or it is no longer kept."


class WrongTask(CallError):
    code = "unsupported_model"
    message = "The model `{model}` does {task}; call it at {endpoint}."


class ContextLengthExceeded(CallError):
    """`what` is the parameter with the prompt, `wanted_by` the one that bounds the answer."""

    code = "context_length_exceeded"
    message = (
        "This model's maximum context length is {limit} tokens. However, you requested {total} tokens "
        "({prompt} in the {what}, {completion} in the completion). {advice}"
    )

    def __init__(
        self, *, limit: int, prompt: int, completion: int, what: str, wanted_by: str = "max_tokens"
    ) -> None:
        room = limit - prompt
        advice = f"Please reduce the length of the {what}."
        if room > 0:
            advice = f"Please lower {wanted_by} to {room} or less, or reduce the length of the {what}."
        super().__init__(
            limit=limit, total=prompt + completion, prompt=prompt, completion=completion, what=what, advice=advice,
            param=wanted_by if room > 0 else what,
        )  # fmt: skip


class InputTooLong(CallError):
    """`index` counts from 0, as in the caller's own list."""

    code = "context_length_exceeded"
    message = (
        "This model's maximum context length is {limit} tokens. However, input[{index}] has {prompt} tokens. Please "
        "reduce its length, or split it."
    )


class PromptRefused(CallError):
    """The version's own chat template or tokenizer did not accept the messages."""

    code = "prompt_refused"
    message = "The model's chat template refused the messages: {reason}"


class PromptTooExpensive(CallError):
    code = "prompt_too_expensive"
    message = "Preparing the prompt took more than the permitted time or memory, and was stopped."


class NoChatTemplate(CallError):
    usual_param = "model"
    code = "unsupported_model"
    message = "This model has no chat template. Call it at /v1/completions."


class ServiceUnavailable(CallError):
    status = 503
    type = "server_error"
    code = "service_unavailable"
    message = "{reason}"


class VersionQuarantined(ServiceUnavailable):
    """It broke what serves it, and is left alone for a while; another version of the listing is not."""

    code = "model_quarantined"
    message = "The model `{model}` is out of service for a while: {why}. Please try again later, or another version."


class Overloaded(CallError):
    status = 503
    type = "server_error"
    code = "model_overloaded"
    message = "{waiting} calls already wait for this model. Please try again in {retry_after_words}."


class ShareTaken(CallError):
    status = 429
    type = "rate_limit_exceeded"
    code = "rate_limit_exceeded"
    message = (
        "{waiting} calls of your organisation wait for this model already, as many as there are places left for all. "
        "Please try again in {retry_after_words}."
    )


class TooMuchWaiting(CallError):
    status = 429
    type = "rate_limit_exceeded"
    code = "rate_limit_exceeded"
    message = (
        "With this one, calls of your organisation that wait for their models would exceed the {limit} that may. "
        "Please try again in {retry_after_words}."
    )
    shows = {"limit": as_size}


class VisitorQuotaReached(CallError):
    status = 429
    type = "rate_limit_exceeded"
    code = "rate_limit_exceeded"
    message = "{reason}"


class RunFailed(CallError):
    """The run ended in an error, or its worker died. Nothing was charged."""

    status = 500
    type = "server_error"
    code = "run_failed"
    message = "{reason} You were not charged for this call."


class Interrupted(RunFailed):
    """The platform gave the call up, such as after a loss of Redis. Another try may do."""

    status = 503
    code = "interrupted"


class CallStopped(CallError):
    """The right to the call ended while it ran. What it had generated by then is charged."""

    status = 403
    code = "access_revoked"
    message = "The call was stopped: {reason} You are charged for what it had generated by then."


class RunRefused(CallError):
    """The model can never run this input, such as an image that is none. Nothing was charged."""

    code = "input_refused"
    message = "{reason} You were not charged for this call."


class WorkerLost(RunFailed):
    status = 503
    code = "worker_lost"
    message = "The worker that ran this call stopped responding. You were not charged; please try again."


@contextmanager
def about(param: str) -> Iterator[None]:
    """Refusals of what is done within are about this parameter, unless they name another."""
    try:
        yield
    except CallError as refusal:
        if refusal.param is None and refusal.status < 500:
            refusal.param = param
        raise


def describe(error: PortalError) -> dict[str, Any]:
    """The body of a refusal; it names the call where there was one."""
    code = getattr(error, "fine_code", None) or _CODES.get(error.code, error.code)
    kind = getattr(error, "type", None) or _type_of(status_of(error), code)
    param = getattr(error, "param", None) or ("model" if code in _ABOUT_THE_MODEL else None)
    told = {"message": str(error), "type": kind, "param": param, "code": code}
    if code in _WITH_FACTS and error.shows:
        # The numbers that the message words, for programs; money in millionths of a minor unit.
        told["details"] = dict(error.data)
    request_id = getattr(error, "request_id", None)
    return {"error": told | ({"request_id": request_id} if request_id else {})}


def status_of(error: PortalError) -> int:
    """The HTTP status of a refusal."""
    return _STATUSES.get(error.code, error.status)


def headers_of(error: PortalError) -> dict[str, str]:
    """Headers that belong to a refusal: how long to wait, and what limited it."""
    retry_after = getattr(error, "retry_after", None) or error.data.get("retry_after")
    headers: dict[str, str] = {}
    if isinstance(error, UnsupportedEncoding):
        headers["accept-encoding"] = "gzip, deflate"
    if isinstance(retry_after, int | float) and retry_after > 0:
        headers["retry-after"] = str(max(1, math.ceil(retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(retry_after * 1000)))
    scope = str(error.data.get("scope", "")).partition(" ")[0]
    if scope in ("requests", "tokens"):
        headers[f"x-ratelimit-limit-{scope}"] = str(error.data.get("limit"))
        headers[f"x-ratelimit-remaining-{scope}"] = str(error.data.get("remaining"))
    if error.code == "insufficient_quota":
        # Waiting and trying again does not help: stock clients should not.
        headers["x-should-retry"] = "false"
    return headers


def _type_of(status: int, code: str) -> str:
    if code == "insufficient_quota":
        return "insufficient_quota"
    if status >= 500:
        return "server_error"
    return _TYPES.get(status, "invalid_request_error")
