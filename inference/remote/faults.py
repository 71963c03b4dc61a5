"""What can go wrong between us and a provider's server. Never carries the server's words, address or key."""

from typing import Literal

Kind = Literal[
    "unreachable", "forbidden", "timeout", "broken", "refused", "rejected", "overloaded", "failing"
]


class UpstreamFault(Exception):
    """`kind` is the fact, `detail` one of our own phrases for the provider, `status` the server's, 0 without one.

    `refused` is the request's fault, `rejected` the provider's (key, model, address), `overloaded` passes by
    itself, and with all others the server is at fault.
    """

    def __init__(self, kind: Kind, detail: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.kind: Kind = kind
        self.detail = detail
        self.status = status
        self.retry_after = retry_after

    @property
    def counts(self) -> bool:
        """Whether it speaks against the server's health."""
        return self.kind not in ("refused", "overloaded")


def of_status(status: int, *, retry_after: float | None = None) -> UpstreamFault:
    """The fault that an answer other than 200 stands for."""
    detail = f"The server answered with status {status}."
    if 300 <= status < 400:
        return UpstreamFault("rejected", f"{detail} Redirects are not followed.", status=status)
    if status in (401, 403, 404, 405, 407):
        return UpstreamFault(
            "rejected", f"{detail} Check the base URL, the model's name and the key.", status=status
        )
    if status in (408, 504):
        return UpstreamFault("timeout", detail, status=status, retry_after=retry_after)
    if status in (429, 503):
        return UpstreamFault("overloaded", detail, status=status, retry_after=retry_after)
    if 400 <= status < 500:
        return UpstreamFault("refused", detail, status=status)
    return UpstreamFault("failing", detail, status=status, retry_after=retry_after)
