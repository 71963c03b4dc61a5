"""The bytes of versions: verified, kept once, cached within a limit."""

import hashlib
import os
import threading
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.db import connection

from marketplace import publishing, weights
from marketplace.errors import DigestMismatch, SizeMismatch, WeightsMissing
from marketplace.models import Listing, Version
from marketplace.weights.storage import sweep_incoming
from portal.kit import clock
from tests.conftest import Cast
from tests.marketplace.conftest import keep

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class RemoteStorage(Storage):
    """Files that have no path on this machine, as in an object store."""

    def __init__(self, location: str) -> None:
        self._inner = FileSystemStorage(location)

    def _open(self, name: str, mode: str = "rb") -> "File[bytes]":
        return self._inner.open(name, mode)

    def _save(self, name: str, content: "File[bytes]") -> str:
        return self._inner.save(name, ContentFile(content.read()))

    def exists(self, name: str) -> bool:
        return self._inner.exists(name)

    def delete(self, name: str) -> None:
        self._inner.delete(name)


@pytest.fixture
def version(cast: Cast, listing: Listing, model: Path) -> Version:
    return publishing.add_version(listing, by=cast.owner, files=keep(model))


@pytest.fixture
def remote(settings: LazySettings, home: Path) -> None:
    weights_options = {"location": str(home / "weights")}
    settings.STORAGES = {
        **settings.STORAGES,
        "weights": {"BACKEND": "tests.marketplace.test_weights.RemoteStorage", "OPTIONS": weights_options},
    }


def stored(home: Path) -> list[Path]:
    return [path for path in (home / "weights").rglob("*") if path.is_file()]


@pytest.mark.django_db
def test_content_is_stored_once(home: Path) -> None:
    for _ in range(2):
        weights.store(BytesIO(CONTENT), size=len(CONTENT), sha256=SHA256)
    assert [path.name for path in stored(home)] == [SHA256]
    assert weights.open_stored(SHA256).read() == CONTENT


def test_another_content_is_refused_and_leaves_nothing(home: Path) -> None:
    with pytest.raises(DigestMismatch):
        weights.store(BytesIO(b"x" * len(CONTENT)), size=len(CONTENT), sha256=SHA256)
    with pytest.raises(SizeMismatch):
        weights.store(BytesIO(CONTENT + b"x"), size=len(CONTENT), sha256=SHA256)
    with pytest.raises(SizeMismatch):
        weights.store(BytesIO(CONTENT[:-1]), size=len(CONTENT), sha256=SHA256)
    assert stored(home) == []


def test_knowing_a_digest_is_not_enough(home: Path) -> None:
    weights.store(BytesIO(CONTENT), size=len(CONTENT), sha256=SHA256)
    with pytest.raises(SizeMismatch):
        weights.store(BytesIO(b""), size=len(CONTENT), sha256=SHA256)


@pytest.mark.django_db(transaction=True)
def test_many_store_the_same_content_at_once(home: Path) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            weights.store(BytesIO(CONTENT), size=len(CONTENT), sha256=SHA256)
        except BaseException as problem:
            problems.append(problem)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [path.name for path in stored(home)] == [SHA256]


def test_what_a_dead_process_left_is_swept(home: Path) -> None:
    weights.store(BytesIO(CONTENT), size=len(CONTENT), sha256=SHA256)
    left = home / "weights" / "incoming" / "tmp1"
    left.write_bytes(b"half of")
    assert sweep_incoming(clock.now() - timedelta(hours=1)) == 0
    assert sweep_incoming(clock.now() + timedelta(hours=1)) == 1
    assert [path.name for path in stored(home)] == [SHA256]


def test_unknown_content_is_named() -> None:
    with pytest.raises(WeightsMissing, match=SHA256):
        weights.open_stored(SHA256)


def test_a_version_becomes_a_directory_of_links(version: Version, model: Path, home: Path) -> None:
    directory = weights.directory(version)
    assert {path.name for path in directory.iterdir()} == {path.name for path in model.iterdir()}
    for path in model.iterdir():
        assert (directory / path.name).read_bytes() == path.read_bytes()
    sha256 = version.files.get(path="model.safetensors").sha256
    assert (directory / "model.safetensors").samefile(home / "weights" / sha256[:2] / sha256)
    assert weights.directory(version) == directory


def test_a_part_of_a_version(version: Version) -> None:
    directory = weights.directory(version, only={"tokenizer.json", "no such file"})
    assert [path.name for path in directory.iterdir()] == ["tokenizer.json"]
    assert directory != weights.directory(version)


def test_changed_storage_is_noticed(version: Version, home: Path) -> None:
    sha256 = version.files.get(path="model.safetensors").sha256
    path = home / "weights" / sha256[:2] / sha256
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(DigestMismatch):
        weights.directory(version)
    assert list((home / "cache" / "weights" / "versions").iterdir()) == []


@pytest.mark.usefixtures("remote")
def test_a_remote_storage_is_copied_once(version: Version, model: Path, home: Path) -> None:
    directory = weights.directory(version)
    weights.directory(version, only={"model.safetensors"})
    assert (directory / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    blobs = [path for path in (home / "cache" / "weights" / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == version.files.count()


@pytest.mark.usefixtures("remote")
def test_what_was_used_longest_ago_makes_room(version: Version, home: Path, settings: LazySettings) -> None:
    settings.WORKER_CACHE_BYTES = 0
    first = weights.directory(version, only={"model.safetensors", "config.json"})
    second = weights.directory(version, only={"config.json", "tokenizer.json"})
    assert first.exists(), "handed out a moment ago"
    for path in [first, *first.iterdir(), second]:
        os.utime(path, (0, 0))
    for path in (home / "cache" / "weights" / "blobs").rglob("*/*"):
        os.utime(path, (0, 0))
    third = weights.directory(version, only={"config.json"})
    assert not first.exists()
    assert third.exists()
    assert (third / "config.json").read_bytes()
    left = {path.name for path in (home / "cache" / "weights" / "blobs").rglob("*/*")}
    assert left == {version.files.get(path="config.json").sha256}


@pytest.mark.usefixtures("remote")
def test_many_ask_for_the_same_directory_at_once(version: Version) -> None:
    files = list(version.files.all())
    version._prefetched_objects_cache = {"files": files}  # type: ignore[attr-defined]  # threads share no transaction
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(_listed(version))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def _listed(version: Version) -> Path:
    directory = weights.directory(version)
    assert len(list(directory.iterdir())) == 6
    return directory
