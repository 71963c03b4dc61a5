"""The families of keys that Redis may hold, as `docs/architecture.md` lists them, held against a real one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from tests.stack import ROOT

_HEADING = "## What Redis holds"


@dataclass(frozen=True)
class Family:
    """Keys of one pattern. `expires`: each of them by itself."""

    pattern: str
    expires: bool


@cache
def families() -> tuple[Family, ...]:
    """All of the table."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition(_HEADING)[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    return tuple(
        Family(pattern, bound.strip().startswith("expires"))
        for names, _, bound in rows
        for pattern in re.findall(r"`([^`]+)`", names)
    )


def find_strays(client: Any) -> Iterator[str]:
    """Keys that the table does not know, and those without the expiry that it promises, in sentences."""
    for key in client.scan_iter(count=1000):
        name = key.decode()
        found = [family for family in families() if fnmatchcase(name, family.pattern)]
        if not found:
            yield f"{name} is of no family"
        # -2: it has expired since it was seen.
        elif any(family.expires for family in found) and client.ttl(key) == -1:
            yield f"{name} never expires"
