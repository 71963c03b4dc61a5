"""What Mercato installs is what was locked: every package by version and hash, at every install."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = re.compile(
    r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[^ ]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+$"
)


def entries(lock: str) -> list[str]:
    """The requirements of a lock, each with the lines that belong to it."""
    text = (ROOT / lock).read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return re.split(r"\n(?=\S)", lines.strip())


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_package_is_pinned_by_its_hashes(lock: str) -> None:
    found = entries(lock)
    assert len(found) > 30
    assert [entry for entry in found if not PINNED.match(entry)] == []


def test_torch_alone_goes_without_a_hash() -> None:
    assert [entry.partition("==")[0] for entry in entries("requirements-torch.lock")] == ["torch"]


def test_installing_insists_on_the_hashes() -> None:
    installs = re.findall(r"\$\(PIP\) install (.*)", (ROOT / "Makefile").read_text())
    assert len(installs) == 3
    for arguments in installs:
        assert "--require-hashes --no-deps" in arguments or arguments == "-r requirements-torch.lock"
