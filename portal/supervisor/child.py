"""A program as it runs: its process group, its output line by line, its end."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from portal.embedded.launch import bind_to_us
from portal.supervisor.processes import Program


class Child:
    """One program, started any number of times, one after the other.

    It leads a process group and session of its own: Ctrl-C in the terminal reaches only the supervisor, and
    children of the child go when it goes. Start it from the thread that lives longest.
    """

    def __init__(self, program: Program, *, on_line: Callable[[bytes], None]) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.failures = 0
        self.due_at: float | None = time.monotonic() + program.start_after_s
        self._on_line = on_line

    def start(self, environment: Mapping[str, str], *, directory: Path) -> int:
        """Start it; returns the process id, which is the group's id too."""
        self.process = subprocess.Popen(
            bind_to_us(list(self.program.command), death_signal=signal.SIGKILL),
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.started_at, self.due_at = time.monotonic(), None
        threading.Thread(target=self._read, args=[self.process], daemon=True).start()
        return self.process.pid

    def is_due(self) -> bool:
        """Whether it is time to start it."""
        return self.due_at is not None and time.monotonic() >= self.due_at

    def take_exit(self) -> int | None:
        """The exit status, once, when it has ended; what is left of its group is then killed."""
        process = self.process
        # Seen before it is reaped: as long as the leader is a zombie, nobody else can get the group's id.
        if process is None or not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return None
        self.kill()
        self.process = None
        return process.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM to the program alone: it knows how to stop its own children."""
        if self.process:
            self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with process.stdout as output:
            for line in output:
                self._on_line(line)


def describe_exit(status: int) -> str:
    """`exit code 1` or `killed by SIGKILL`."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
