"""Folders of the home that only the account of these processes may enter: weights, uploads, caches."""

import os
from pathlib import Path

FOLDER = 0o700
FILE = 0o600
# All that hold what is private, below the home. What lies in a folder that nobody else may enter is closed too.
NAMES = ("weights", "cache", "imports", "demo", "media")


def make_folder(path: Path) -> Path:
    """The folder, made if it is missing, closed to others also if an earlier release made it open."""
    path.mkdir(mode=FOLDER, parents=True, exist_ok=True)
    facts = path.stat()
    if facts.st_mode & 0o077 and _may_change(facts.st_uid):
        path.chmod(FOLDER)
    return path


def close(home: Path) -> None:
    """Mend the folders of a home that is there already."""
    for name in NAMES:
        if (home / name).is_dir():
            make_folder(home / name)
    kept = home / "demo.json"
    if kept.is_file() and _may_change(kept.stat().st_uid):
        kept.chmod(FILE)


def _may_change(owner: int) -> bool:
    return os.geteuid() in (0, owner)
