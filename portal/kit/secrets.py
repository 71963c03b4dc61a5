"""Secrets at rest on this machine."""

import os
import secrets
from pathlib import Path


def write_new_secret(path: Path) -> None:
    """Make a random secret that only this user can read; another process may have won the race."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(secrets.token_urlsafe(50))
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    finally:
        temporary.unlink()
