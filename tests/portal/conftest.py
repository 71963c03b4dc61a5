"""Homes to run services in."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: pytest closes its directories to other users, and most homes are not so.
    path = Path(tempfile.mkdtemp(prefix="mercato-home-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
