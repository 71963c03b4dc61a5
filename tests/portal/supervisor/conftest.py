"""A supervisor of stand-in programs, as a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from portal.embedded.server import runs

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]


class Run:
    """A running supervisor, what it has printed, and what it has started."""

    def __init__(self, programs: dict[str, list[str]], **terms: dict[str, object]) -> None:
        self.mark = uuid.uuid4().hex
        self.lines: list[str] = []
        facts = [
            {"stop_rank": rank, "grace_s": 10, **terms.get(name, {})}
            | {"name": name, "command": [sys.executable, str(HERE / "stand_in.py"), *words]}
            for rank, (name, words) in enumerate(programs.items())
        ]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "supervise.py"), json.dumps(facts)],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "TEST_RUN": self.mark, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def await_line(self, pattern: str, *, times: int = 1, within_s: float = 20) -> re.Match[str]:
        """The n-th line that matches."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            if len(found) >= times:
                return found[times - 1]
            time.sleep(0.02)
        pytest.fail(f"no line {pattern!r} ({times}); printed:\n" + "\n".join(self.lines))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal the supervisor as a terminal or an operator would, and wait for its end."""
        os.killpg(self.process.pid, number)
        status = self.process.wait(timeout=30)
        self.reader.join(timeout=10)
        return status

    def leftovers(self, *, within_s: float = 5) -> list[psutil.Process]:
        """Processes of this run that still work after a while, with the supervisor gone."""
        deadline = time.monotonic() + within_s
        while (left := self.find_processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def find_processes(self) -> list[psutil.Process]:
        found = psutil.process_iter(["environ"])
        marked = [one for one in found if (one.info["environ"] or {}).get("TEST_RUN") == self.mark]
        return [process for process in marked if runs(process)]


@pytest.fixture
def supervise() -> Iterator[Callable[..., Run]]:
    """Start a supervisor: `supervise({"web": [], "worker": ["child"]}, worker={"grace_s": 1})`."""
    runs: list[Run] = []

    def start(programs: dict[str, list[str]], **terms: dict[str, object]) -> Run:
        runs.append(Run(programs, **terms))
        return runs[-1]

    yield start
    for run in runs:
        for process in run.find_processes():
            process.kill()
        run.process.wait()
