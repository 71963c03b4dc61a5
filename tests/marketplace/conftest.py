"""Real, tiny models on disk and in the weights storage, and a listing to publish them under."""

import hashlib
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings

from marketplace import publishing, weights
from marketplace.models import Listing, Task
from tests.conftest import Cast
from tests.marketplace.checkpoints import write_text_model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: LazySettings) -> Path:
    """Weights and caches of this test alone; and users whose passwords are not worth the time of a real hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.HOME = tmp_path / "home"
    settings.STORAGES = {
        **settings.STORAGES,
        "weights": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "home" / "weights")},
        },
    }
    return settings.HOME


@pytest.fixture(autouse=True)
def _redis(clean_redis: None) -> None:
    """Epochs and the queue start empty."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with a tiny Llama, its tokenizer, a chat template and a card."""
    return write_text_model(tmp_path / "model")


@pytest.fixture
def listing(cast: Cast) -> Listing:
    return publishing.create_listing(
        cast.acme, by=cast.owner, slug="tiny", name="Tiny", task=Task.TEXT_GENERATION
    )


Stored = dict[str, tuple[str, int]]


def keep(folder: Path) -> Stored:
    """Store every file of a folder, as the doors do before `add_version`."""
    stored = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            weights.store(BytesIO(content), size=len(content), sha256=sha256)
            stored[path.relative_to(folder).as_posix()] = (sha256, len(content))
    return stored


@pytest.fixture
def edit(model: Path) -> Callable[..., None]:
    """Change keys of one of the model's JSON files; None removes a key."""

    def change(name: str = "config.json", **changes: Any) -> None:
        path = model / name
        values = json.loads(path.read_text())
        values.update(changes)
        path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))

    return change
