"""Content-addressed storage over Django's storage API: a file's name is its SHA-256."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.files import File
from django.core.files.storage import Storage, storages
from django.db import connection

from marketplace.errors import DigestMismatch, SizeMismatch, WeightsMissing
from portal.kit import private

BLOCK_BYTES = 2**20


def weights_storage() -> Storage:
    """The storage named "weights" in the settings."""
    return storages["weights"]


def name_of(sha256: str) -> str:
    """Where the content lies in the storage."""
    return f"{sha256[:2]}/{sha256}"


def exists(sha256: str) -> bool:
    """Whether the content is stored."""
    return weights_storage().exists(name_of(sha256))


def open_stored(sha256: str) -> IO[bytes]:
    """The stored content, to read. Raises `WeightsMissing`."""
    try:
        return weights_storage().open(name_of(sha256), "rb")
    except FileNotFoundError as error:
        raise WeightsMissing(sha256=sha256) from error


def store(stream: IO[bytes], *, size: int, sha256: str) -> None:
    """Keep what `stream` yields under its digest; storing the same content again changes nothing.

    The stream is read to its end even if the content is there already, so that knowing a digest is not
    enough to get at another's file. Raises `SizeMismatch` or `DigestMismatch` and keeps nothing then.
    """
    with _spooled() as spool:
        copy_verified(stream, spool, size=size, sha256=sha256)
        spool.flush()
        os.fsync(spool.fileno())
        if not exists(sha256):
            _save(spool, name_of(sha256))
            return
        with stored_alone(sha256):
            _renew(spool, name_of(sha256))


@contextmanager
def stored_alone(sha256: str) -> Iterator[None]:
    """Of all processes that renew this content or delete it, one at a time. Opens no transaction: both may take long."""
    name = [f"weights:{sha256}"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", name)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", name)


def copy_verified(source: IO[bytes], target: IO[bytes], *, size: int, sha256: str) -> None:
    """Copy exactly `size` bytes that hash to `sha256`. Raises `SizeMismatch` or `DigestMismatch`."""
    digest, count = hashlib.sha256(), 0
    while block := source.read(BLOCK_BYTES):
        count += len(block)
        if count > size:
            raise SizeMismatch(expected=size, actual=count)
        digest.update(block)
        target.write(block)
    if count != size:
        raise SizeMismatch(expected=size, actual=count)
    if digest.hexdigest() != sha256:
        raise DigestMismatch(expected=sha256, actual=digest.hexdigest())


class _Spooled(File):  # type: ignore[type-arg]
    """A file that the storage may move into place, which is atomic on the same file system."""

    def temporary_file_path(self) -> str:
        return str(self.name)


def sweep_incoming(before: datetime) -> int:
    """Delete what processes that died had begun to store before then; the number of files deleted."""
    if not _incoming().exists():
        return 0
    left = [path for path in _incoming().iterdir() if path.stat().st_mtime < before.timestamp()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _incoming() -> Path:
    # Beside the storage's own files where it has a directory, so that the move is a rename.
    return Path(getattr(weights_storage(), "location", settings.HOME / "cache")) / "incoming"


@contextmanager
def _spooled() -> Iterator[IO[bytes]]:
    folder = _incoming()
    private.make_folder(folder.parent)
    private.make_folder(folder)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as spool:
        try:
            yield spool
        finally:
            Path(spool.name).unlink(missing_ok=True)


def _save(spool: IO[bytes], name: str) -> None:
    spool.seek(0)
    saved = weights_storage().save(name, _Spooled(spool, name=spool.name))
    # Another process stored the same content a moment earlier; the storage chose a second name for ours.
    if saved != name:
        weights_storage().delete(saved)


def _renew(spool: IO[bytes], name: str) -> None:
    """Make content that was stored before count as stored now, so that it is not reclaimed before it is named."""
    try:
        os.utime(weights_storage().path(name))
    except (NotImplementedError, FileNotFoundError):
        # An object store tells the time of the last write, and a write there replaces what it had.
        _save(spool, name)
