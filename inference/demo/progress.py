"""Where the building of the demo world stands: for the pages through Redis, for the terminal by printing."""

import json
import time
from collections.abc import Callable

import redis

from inference.training.progress import Progress
from portal.kit.redis import client

KEY = "demo:progress"
# A builder that has been silent for so long is gone, and its last words with it.
KEPT_SECONDS = 15 * 60
# A training run reports many times a second; people read once in a while.
SAY_SECONDS = 10.0
SHOW_SECONDS = 0.5


class Teller:
    """Tells of `total` steps. `say` prints a line."""

    def __init__(self, *, total: int, say: Callable[[str], None]) -> None:
        self._total = total
        self._say = say
        self._done = 0
        self._step = ""
        self._said_at = 0.0
        self._shown_at = 0.0

    def begin(self, step: str) -> None:
        self._step = step
        self._said_at = self._shown_at = 0.0
        self.tell("")

    def end_step(self) -> None:
        self._done += 1

    def tell(self, message: str) -> None:
        """What the present step is doing."""
        now = time.monotonic()
        if now - self._shown_at >= SHOW_SECONDS:
            self._shown_at = now
            self._show(message, finished=False)
        if now - self._said_at >= SAY_SECONDS:
            self._said_at = now
            self._say(f"[{self._done + 1}/{self._total}] {self._step}{': ' if message else ''}{message}")

    def follow(self, progress: Progress) -> None:
        """A training run's report, as a message."""
        share = f"{progress.step} of {progress.total}" if progress.total else str(progress.step)
        loss = "" if progress.loss is None else f", loss {progress.loss:.2f}"
        self.tell(f"{progress.stage} {share}{loss}")

    def finish(self) -> None:
        self._show("", finished=True)
        self._say("The demo world is complete.")

    def _show(self, message: str, *, finished: bool) -> None:
        state = {
            "step": self._step, "done": self._done, "total": self._total, "message": message,
            "finished": finished,
        }  # fmt: skip
        try:
            client().set(KEY, json.dumps(state), ex=KEPT_SECONDS)
        except redis.RedisError as error:
            self._say(f"progress cannot be shown on the site: {error}")
