"""What can go wrong between a call and its engine, as named facts."""

from typing import ClassVar

from portal.kit.errors import PortalError, as_size


class VersionTooLarge(PortalError):
    status: ClassVar[int] = 503
    code: ClassVar[str] = "version_too_large"
    message: ClassVar[str] = (
        "This version needs {needed_bytes} on one device; the largest worker has {largest_bytes}."
    )
    shows = {"needed_bytes": as_size, "largest_bytes": as_size}


class VersionNotLoadable(PortalError):
    status: ClassVar[int] = 503
    code: ClassVar[str] = "version_not_loadable"
    message: ClassVar[str] = "This version could not be loaded: {reason}"


class ReplicaGone(PortalError):
    status: ClassVar[int] = 503
    code: ClassVar[str] = "replica_gone"
    message: ClassVar[str] = "The worker had to make room before this call began. Try again."
