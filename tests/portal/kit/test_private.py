"""Nobody else on the machine reads weights, uploads and caches."""

import hashlib
import stat
from io import BytesIO
from pathlib import Path

import pytest
from django.test import override_settings

from marketplace import weights
from portal import settings as site
from portal.kit import private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", private.NAMES)
def test_open_folders_of_an_earlier_release_are_closed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir(mode=0o755)
    (tmp_path / "demo.json").write_text("{}")
    private.close(tmp_path)
    assert (mode(tmp_path / name), mode(tmp_path / "demo.json")) == (0o700, 0o600)


def test_what_is_stored_is_closed_to_others(tmp_path: Path) -> None:
    options = {**site.STORAGES["weights"]["OPTIONS"], "location": str(tmp_path / "weights")}
    content = b"weights"
    with override_settings(
        STORAGES={**site.STORAGES, "weights": {**site.STORAGES["weights"], "OPTIONS": options}}
    ):
        weights.store(BytesIO(content), size=len(content), sha256=hashlib.sha256(content).hexdigest())
    made = list((tmp_path / "weights").rglob("*"))
    assert {mode(path) for path in made if path.is_file()} == {0o600}
    assert {mode(path) for path in (tmp_path / "weights", *made) if path.is_dir()} == {0o700}
