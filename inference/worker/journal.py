"""An account of its own of what a worker generated, for whoever checks the books against it.

With WORKER_JOURNAL set, every end of a call becomes one line of JSON at the end of that file before anything
else hears of it: `{"request", "finish_reason", "usage"}`. Lines survive a killed process, and several workers
may share the file.
"""

import json
import os
from pathlib import Path

from inference.engines.base import Chunk


class Journal:
    """Without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else None

    def note(self, request: str, chunk: Chunk) -> None:
        """Write down how a call ended. From any thread: one write is one line."""
        if self._file is None or chunk.finish_reason is None:
            return
        said = {"request": request, "finish_reason": chunk.finish_reason, "usage": dict(chunk.usage or {})}
        os.write(self._file, json.dumps(said).encode() + b"\n")


def open_journal() -> Journal:
    """The one that the environment names."""
    path = os.environ.get("WORKER_JOURNAL")
    return Journal(Path(path) if path else None)
