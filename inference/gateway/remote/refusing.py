"""What a caller is told when a provider's server is at fault: our words, never the server's."""

from inference.gateway.errors import CallError
from inference.remote.faults import UpstreamFault

DEFAULT_RETRY_SECONDS = 5.0


class UpstreamRefused(CallError):
    """The server found fault with this very request. Nothing was charged."""

    code = "upstream_refused"
    message = (
        "The model's server refused this request (status {status}). It may be longer than the model's context, or use "
        "a parameter that the server does not take. You were not charged for this call."
    )


class UpstreamFailed(CallError):
    status = 502
    type = "server_error"
    code = "upstream_failed"
    message = "The model's server failed. You were not charged for this call; please try again later."


class UpstreamBusy(CallError):
    status = 503
    type = "server_error"
    code = "upstream_unavailable"
    message = "The model's server takes no more calls at the moment. You were not charged; please try again shortly."


class UpstreamSlow(CallError):
    status = 504
    type = "server_error"
    code = "upstream_timeout"
    message = "The model's server did not answer in time. You were not charged for this call; please try again later."


def explain(fault: UpstreamFault) -> CallError:
    """The refusal that a caller gets."""
    retry_after = fault.retry_after or DEFAULT_RETRY_SECONDS
    if fault.kind == "refused":
        return UpstreamRefused(status=fault.status)
    if fault.kind == "overloaded":
        return UpstreamBusy(retry_after=retry_after)
    if fault.kind == "timeout":
        return UpstreamSlow(retry_after=retry_after)
    return UpstreamFailed(retry_after=retry_after)
