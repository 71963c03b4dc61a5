"""Versions as local directories, from a cache that is shared by all processes of a machine.

Content lies once under `blobs/`, by its SHA-256; each version (or a part of one) is a directory of links
to it. Where the storage itself is a local directory, the links lead there and cost no space. Both appear
by a rename, complete and verified, so a process killed half-way leaves nothing that another could use.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from uuid import UUID

from django.conf import settings

from marketplace.models import Version, VersionFile
from marketplace.weights.storage import BLOCK_BYTES, copy_verified, name_of, open_stored, weights_storage
from portal.kit import private

# A directory that was handed out this recently may still be about to be opened.
GRACE_SECONDS = 600
# Whoever was still building after this long has died.
ABANDONED_SECONDS = 24 * 3600


def root() -> Path:
    """Where this machine keeps its copies."""
    return Path(settings.HOME) / "cache" / "weights"


def _make(folder: Path) -> None:
    private.make_folder(root().parent)
    folder.mkdir(mode=private.FOLDER, parents=True, exist_ok=True)


def directory(version: Version, *, only: Collection[str] | None = None) -> Path:
    """A local directory that holds the version's files by their paths; read it, never write to it.

    `only` names the paths that are needed; those that the version does not have are left out. Raises
    `WeightsMissing`, `DigestMismatch` or `SizeMismatch` if the storage has lost or changed a file.
    """
    files = [file for file in version.files.all() if only is None or file.path in only]
    place = root() / "versions" / _name(version.pk, files, complete=only is None)
    if not place.exists():
        _build(place, files)
        _make_room(keep=place)
    os.utime(place)
    return place


def _name(version_id: UUID, files: Collection[VersionFile], *, complete: bool) -> str:
    if complete:
        return version_id.hex
    paths = "\n".join(sorted(file.path for file in files))
    return f"{version_id.hex}-{hashlib.sha256(paths.encode()).hexdigest()[:16]}"


def version_of(place: Path) -> str:
    """The version, in hex, whose files a directory of this cache holds."""
    return place.name.partition("-")[0]


def _build(place: Path, files: Collection[VersionFile]) -> None:
    _make(place.parent)
    building = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        building.chmod(private.FOLDER)
        for file in files:
            target = building / _checked(file.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(_local_content(file), target)
        building.rename(place)
    except OSError:
        # Another process has built the same directory meanwhile.
        if not place.exists():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _checked(path: str) -> PurePosixPath:
    # Publishing admits no such path; a row written by other means must not lead out of the cache either.
    checked = PurePosixPath(path)
    if checked.is_absolute() or ".." in checked.parts or "\\" in path:
        raise ValueError(f"{path!r} leads out of the version's directory")
    return checked


def _link(content: Path, target: Path) -> None:
    try:
        os.link(content, target)
    except OSError:
        # Another file system, or another user's file: protected_hardlinks forbids the hard link.
        target.symlink_to(content)


def _local_content(file: VersionFile) -> Path:
    """A verified local file with the content: the storage's own, or a copy under `blobs/`."""
    with _locked(file.sha256):
        blob = root() / "blobs" / name_of(file.sha256)
        if blob.exists():
            return blob
        local = _path_in_storage(file.sha256)
        if local is not None:
            with local.open("rb") as source, open(os.devnull, "wb") as nowhere:
                copy_verified(source, nowhere, size=file.size, sha256=file.sha256)
            return local
        _fetch(file, blob)
        return blob


def _path_in_storage(sha256: str) -> Path | None:
    try:
        path = Path(weights_storage().path(name_of(sha256)))
    except NotImplementedError:
        return None
    return path if path.exists() else None


def _fetch(file: VersionFile, blob: Path) -> None:
    _make(blob.parent)
    handle, name = tempfile.mkstemp(prefix=".", dir=blob.parent)
    try:
        with open_stored(file.sha256) as source, os.fdopen(handle, "wb", buffering=BLOCK_BYTES) as target:
            copy_verified(source, target, size=file.size, sha256=file.sha256)
        Path(name).chmod(private.FILE)
        Path(name).replace(blob)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """One process or thread of this machine at a time; the lock ends with its holder."""
    folder = root() / "locks"
    _make(folder)
    with (folder / name).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_room(*, keep: Path) -> None:
    """Forget the directories used longest ago until the copies fit in `WORKER_CACHE_BYTES`."""
    with _locked("room"):
        _drop_unlinked()
        oldest_first = sorted((root() / "versions").glob("[!.]*"), key=lambda place: place.stat().st_mtime)
        recent = time.time() - GRACE_SECONDS
        for place in oldest_first:
            if _copied_bytes() <= settings.WORKER_CACHE_BYTES:
                return
            if place != keep and place.stat().st_mtime < recent:
                shutil.rmtree(place, ignore_errors=True)
                _drop_unlinked()


def _blobs() -> Iterator[Path]:
    return (root() / "blobs").glob("*/[!.]*")


def _copied_bytes() -> int:
    return sum(blob.stat().st_size for blob in _blobs())


def _drop_unlinked() -> None:
    """Delete copies that no directory links to, unless one that is being built may be about to."""
    recent = time.time() - GRACE_SECONDS
    for abandoned in [*(root() / "versions").glob(".*"), *(root() / "blobs").glob("*/.*")]:
        # What others are building gets its real name at any moment.
        with suppress(FileNotFoundError):
            if abandoned.stat().st_mtime < time.time() - ABANDONED_SECONDS:
                shutil.rmtree(abandoned) if abandoned.is_dir() else abandoned.unlink()
    for blob in _blobs():
        facts = blob.stat()
        if facts.st_nlink == 1 and facts.st_mtime < recent:
            blob.unlink()
