"""What can keep the embedded services from running, as named facts with a sentence for people."""

from pathlib import Path


class EmbeddedServiceError(Exception):
    """The base: `str(error)` is one clear sentence."""


class HomeInUse(EmbeddedServiceError):
    """Another process runs the services of this home."""

    def __init__(self, home: Path, *, pid: int | None) -> None:
        self.home, self.pid = home, pid
        owner = f"process {pid}" if pid else "another process"
        super().__init__(
            f"Mercato is already running in {home} ({owner}); "
            "stop it first, or set MERCATO_HOME to another directory."
        )


class HomeOfAnotherUser(EmbeddedServiceError):
    """The state under this home belongs to somebody else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} belongs to another user; "
            "run Mercato as that user, or set MERCATO_HOME to another directory."
        )


class HomeUnusable(EmbeddedServiceError):
    """The state directory cannot be made or written to."""

    def __init__(self, path: Path, *, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"MERCATO_HOME must be a directory that can be written to; {path} cannot be used ({reason})."
        )


class NoUnprivilegedAccount(EmbeddedServiceError):
    """We are root, PostgreSQL refuses to run as root, and there is no one else to run it."""

    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL refuses to run as root and no other account can be used here; "
            "run Mercato as an ordinary user, or set DATABASE_URL and REDIS_URL to servers of your own."
        )


class HomeOutOfReach(EmbeddedServiceError):
    """An unprivileged account cannot reach the state directory or the programs."""

    def __init__(self, path: Path, *, account: str) -> None:
        self.path, self.account = path, account
        super().__init__(
            f"the account {account} may not enter {path}; "
            "set MERCATO_HOME to a directory that every user can reach."
        )


class WrongDataVersion(EmbeddedServiceError):
    """The data directory was made by another major version of PostgreSQL."""

    def __init__(self, path: Path, *, found: str, wanted: str) -> None:
        self.path, self.found, self.wanted = path, found, wanted
        super().__init__(
            f"{path} was made by PostgreSQL {found} and this Mercato brings PostgreSQL {wanted}; "
            "dump the data with the old version and load it into a new home."
        )


class ServiceFailed(EmbeddedServiceError):
    """A server exited or did not become ready; its log says why."""

    def __init__(self, name: str, *, log: Path, reason: str) -> None:
        self.name, self.log, self.reason = name, log, reason
        super().__init__(f"the embedded {name} {reason}; its log is {log}.")
