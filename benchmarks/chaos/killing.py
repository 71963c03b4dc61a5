"""SIGKILL at random moments, each kind of process equally often; whoever is killed comes back by itself."""

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence

import psutil

from portal.embedded.server import runs
from tests.stack import Stack

KINDS = ("web", "worker", "meter", "redis", "postgres")
_WORDS = {
    "web": ("portal.server",), "worker": ("manage.py", "worker"), "meter": ("manage.py", "meter"),
    "redis": ("redis-server",), "postgres": ("postgres", "-D"),
}  # fmt: skip
BACK_SECONDS = 60.0


class Killer:
    """Kills of one run, planned by a seed: the moments, the kinds, and which process of a kind."""

    def __init__(self, stack: Stack, *, seed: int, kills: int, seconds: float) -> None:
        self._stack = stack
        self._random = random.Random(seed)
        self._seconds = seconds
        self._plan = self._make_plan(kills, seconds)
        self.done: Counter[str] = Counter()

    def run(self) -> None:
        """Carry the plan out. Raises `TimeoutError` if a kind does not come back."""
        began = time.monotonic()
        for moment, kind in self._plan:
            time.sleep(max(0.0, began + moment - time.monotonic()))
            self._kill(kind)
        time.sleep(max(0.0, began + self._seconds - time.monotonic()))

    def _make_plan(self, kills: int, seconds: float) -> list[tuple[float, str]]:
        kinds: list[str] = []
        while len(kinds) < kills:
            kinds += self._random.sample(KINDS, len(KINDS))
        moments = sorted(self._random.uniform(0, seconds) for _ in range(kills))
        return list(zip(moments, kinds[:kills], strict=True))

    def _kill(self, kind: str) -> None:
        victims = self._await(kind)
        victim = self._random.choice(victims)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
            self.done[kind] += 1
            print(f"  {time.strftime('%H:%M:%S')} killed {kind} ({victim.pid})", flush=True)

    def _await(self, kind: str) -> Sequence[psutil.Process]:
        deadline = time.monotonic() + BACK_SECONDS
        while not (found := find(self._stack, kind)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{kind} did not come back within {BACK_SECONDS:.0f} s")
            time.sleep(0.05)
        return found


def find(stack: Stack, kind: str) -> list[psutil.Process]:
    """The processes of a kind, the leading one first; of the web, those that serve as well."""
    assert stack.process is not None
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(stack.process.pid).children():
            line = _command(process)
            if runs(process) and all(any(word in part for part in line) for word in _WORDS[kind]):
                return [process, *(_servers(process) if kind == "web" else ())]
    return []


def _servers(leader: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [child for child in leader.children() if "spawn_main" in " ".join(_command(child))]
    return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
