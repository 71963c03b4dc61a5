"""What the database cannot give back: passwords and the text of the key, kept for `demo.json`."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

from portal.kit import private

MODE = 0o600


@dataclass(slots=True)
class Keepsake:
    """Passwords by e-mail address, and the consumer's API key once it has one."""

    passwords: dict[str, str] = field(default_factory=dict)
    api_key: str = ""

    def save(self) -> None:
        write_private(_path(), asdict(self))


def load() -> Keepsake:
    """What an earlier run kept, or nothing yet."""
    try:
        return Keepsake(**json.loads(_path().read_text()))
    except FileNotFoundError:
        return Keepsake()


def write_private(path: Path, content: dict[str, Any]) -> None:
    """JSON that only this user can read, replaced as a whole."""
    path.parent.mkdir(mode=private.FOLDER, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.touch(mode=MODE)
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    temporary.replace(path)


def _path() -> Path:
    return Path(settings.HOME) / "demo" / "keepsake.json"
