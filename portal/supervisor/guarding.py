"""The process that outlives a killed supervisor for a moment, to kill what it left (see guardian.py)."""

import contextlib
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("guardian.py")


class Guardian:
    """Knows the process groups that run. Itself started again when it is killed."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process = self._start()

    def add(self, group: int) -> None:
        """This group is to be killed if we are."""
        self._groups.add(group)
        self._tell(f"+{group}")

    def discard(self, group: int) -> None:
        """This group is gone."""
        self._groups.discard(group)
        self._tell(f"-{group}")

    def keep(self) -> None:
        """See that it is there."""
        if self._process.poll() is not None:
            self._process = self._start()
            for group in self._groups:
                self._tell(f"+{group}")

    def dismiss(self) -> None:
        """End it; whatever groups it still knows go with it."""
        self._process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(SCRIPT)], stdin=subprocess.PIPE, start_new_session=True
        )

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        # One that has just been killed is replaced in the next turn, and then told everything.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()
