"""Uploads of versions: declared first, sent in chunks, resumable after any crash, checked by digest.

A chunk becomes a piece in the weights storage, and only then counts as received. So the offset that a
client is told to go on from is never ahead of what is stored, whichever web process took the chunk.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import IO, TypedDict, cast
from uuid import UUID

from django.core.files.base import ContentFile
from django.db import transaction

from marketplace import examinations, publishing, quota, weights
from marketplace.errors import (
    ChunkTooLarge,
    DigestMismatch,
    SizeMismatch,
    UploadIncomplete,
    UploadOver,
    UploadRefused,
    WrongOffset,
)
from marketplace.models import Examination, Listing, Upload, UploadFile, Version
from marketplace.validation.files import check_names
from marketplace.weights.storage import sweep_incoming, weights_storage
from portal.accounts import membership
from portal.accounts.models import Organisation, User
from portal.kit import clock
from portal.kit.errors import Conflict, NotFound

LIFETIME = timedelta(days=3)
MAX_CHUNK_BYTES = 16 * 2**20
MAX_OPEN = 10
# Bytes of a file that takes no longer to verify than its last chunk took to arrive.
VERIFIED_AT_ONCE = MAX_CHUNK_BYTES
REOPENED_FOR = timedelta(days=1)
SHA256 = re.compile(r"[0-9a-f]{64}")


class Declared(TypedDict):
    """A file to come: path within the version, bytes, SHA-256 in lower-case hexadecimal digits."""

    path: str
    size: int
    sha256: str


def check(listing: Listing, *, by: User, sizes: Mapping[str, int]) -> list[str]:
    """The paths of `sizes` (bytes by path) that an upload would take, before anyone has hashed or sent anything.

    Raises as `begin` would.
    """
    membership.require(by, listing.organisation, "publish")
    kept = _check_names(sizes)
    quota.require_room(listing.organisation, size=sum(sizes[path] for path in kept))
    return kept


def begin(listing: Listing, *, by: User, files: Sequence[Declared], notes: str = "") -> Upload:
    """An upload of those of `files` that a version may have; the others need not be sent.

    Raises `UploadRefused`, with findings, for files that no version may have, and as `quota.require_room`.
    """
    membership.require(by, listing.organisation, "publish")
    wanted = _check_declared(files)
    live = Upload.objects.filter(listing=listing, version=None, expires_at__gt=clock.now())
    with transaction.atomic():
        # Uploads begun at the same time are counted one after the other.
        organisation = Organisation.objects.select_for_update(no_key=True).get(pk=listing.organisation_id)
        if live.count() >= MAX_OPEN:
            raise Conflict(reason=f"{listing.path} has {MAX_OPEN} unfinished uploads. Complete one first.")
        quota.admit_upload(organisation, by=by)
        quota.require_room(organisation, size=sum(declared["size"] for declared in wanted))
        upload = Upload.objects.create(
            listing=listing, created_by=by, expires_at=clock.now() + LIFETIME, notes=notes
        )
        UploadFile.objects.bulk_create(UploadFile(upload=upload, **declared) for declared in wanted)
    for file in upload.files.filter(size=0):
        verify(file)
    return upload


def _check_declared(files: Sequence[Declared]) -> list[Declared]:
    by_path = {declared["path"]: declared for declared in files}
    if len(by_path) != len(files):
        raise UploadRefused(reason="A path is declared twice.", findings=[], param="files")
    if not all(SHA256.fullmatch(declared["sha256"]) for declared in files):
        reason = "Every sha256 must be 64 lower-case hexadecimal digits."
        raise UploadRefused(reason=reason, findings=[], param="files")
    kept = _check_names({path: declared["size"] for path, declared in by_path.items()})
    return [by_path[path] for path in kept]


def _check_names(sizes: Mapping[str, int]) -> list[str]:
    kept, findings = check_names(sizes)
    if wrong := [finding for finding in findings if finding.severity == "error"]:
        reason = f"{wrong[0].file}: {wrong[0].message} {wrong[0].remedy}".strip()
        raise UploadRefused(reason=reason, findings=[finding.to_json() for finding in wrong])
    return kept


def find(upload_id: UUID, *, by: User) -> Upload:
    """The upload, for those who may publish for its listing. Raises `NotFound` or `NotAllowed`."""
    upload = Upload.objects.select_related("listing__organisation").filter(pk=upload_id).first()
    if upload is None or not upload.listing.organisation.memberships.filter(user=by).exists():
        raise NotFound(what="upload")
    membership.require(by, upload.listing.organisation, "publish")
    return upload


def append(upload: Upload, path: str, *, offset: int, chunk: bytes) -> UploadFile:
    """Add the next bytes of a file. The last ones complete it; a small one is verified at once, others in `jobs`.

    Raises `WrongOffset`, which says where to go on. On `DigestMismatch` the file starts over.
    """
    if len(chunk) > MAX_CHUNK_BYTES:
        raise ChunkTooLarge(path=path, most=MAX_CHUNK_BYTES)
    with transaction.atomic():
        file = _lock_file(upload, path)
        if offset != file.received:
            raise WrongOffset(path=path, offset=file.received)
        if offset + len(chunk) > file.size:
            raise SizeMismatch(expected=file.size, actual=offset + len(chunk))
        if not chunk:
            return file
        quota.require_disk(size=len(chunk))
        _write_piece(file, offset, chunk)
        file.received = offset + len(chunk)
        file.save(update_fields=["received"])
    if file.received == file.size <= VERIFIED_AT_ONCE:
        verify(file)
    return file


def _lock_file(upload: Upload, path: str) -> UploadFile:
    return UploadFile.objects.select_for_update().get(pk=_find_file(upload, path).pk)


def _find_file(upload: Upload, path: str) -> UploadFile:
    refuse_over(Upload.objects.get(pk=upload.pk))
    file = UploadFile.objects.filter(upload=upload, path=path).first()
    if file is None:
        raise NotFound(what="file in this upload")
    return file


def refuse_over(upload: Upload) -> None:
    """Raises `UploadOver` for an upload that takes no more bytes."""
    if upload.version_id is not None:
        raise UploadOver(reason="was completed")
    if upload.expires_at <= clock.now():
        raise UploadOver(reason="has expired")


def verify(file: UploadFile, *, hear: Callable[[int], None] = lambda count: None) -> None:
    """Check what has arrived and store it by its digest; `hear` is told of bytes as they are read. What is something
    else raises `DigestMismatch` or `SizeMismatch`, and starts over. Not for a transaction: it takes minutes.
    """
    row = UploadFile.objects.filter(pk=file.pk, stored=False)
    try:
        weights.store(cast(IO[bytes], _Joined(file, hear)), size=file.size, sha256=file.sha256)
    except (DigestMismatch, SizeMismatch):
        # Another process that verified the same bytes has taken them away.
        if UploadFile.objects.filter(pk=file.pk, stored=True).exists():
            return
        row.update(received=0)
        file.received = 0
        transaction.on_commit(lambda: _delete_pieces(file))
        raise
    row.update(stored=True)
    # Not before it is certain that the file is stored: a caller's transaction may yet roll back.
    transaction.on_commit(lambda: _delete_pieces(file))


def put(upload: Upload, path: str, stream: IO[bytes]) -> None:
    """Store a whole file that is at hand, instead of sending chunks. Raises if it is not what was declared."""
    file = _find_file(upload, path)
    weights.store(stream, size=file.size, sha256=file.sha256)
    UploadFile.objects.filter(pk=file.pk).update(received=file.size, stored=True)


def missing(upload: Upload) -> list[UploadFile]:
    """The files that are not stored yet."""
    return list(upload.files.filter(stored=False).order_by("path"))


def complete(upload: Upload, *, by: User) -> Version:
    """Make the version, `checking` until `jobs` has verified, read and tried its files; asking again gives the same
    one. Raises `UploadIncomplete`, or as `publishing.open_version` and `examinations.enter` do.
    """
    membership.require(by, upload.listing.organisation, "publish")
    with transaction.atomic():
        locked = Upload.objects.select_for_update().select_related("listing__organisation").get(pk=upload.pk)
        if locked.version is not None:
            return locked.version
        refuse_over(locked)
        _refuse_incomplete(locked)
        files = {file.path: (file.sha256, file.size) for file in locked.files.all()}
        version = publishing.open_version(locked.listing, by=by, files=files, notes=locked.notes)
        examinations.enter(locked.listing.organisation, stage=Examination.Stage.FILES, version=version)
        locked.version = version
        locked.save(update_fields=["version"])
    return version


def reopen(upload: Upload) -> None:
    """Let files be sent again whose bytes were not what was declared: the version that it has become is refused."""
    later = max(upload.expires_at, clock.now() + REOPENED_FOR)
    Upload.objects.filter(pk=upload.pk).update(version=None, expires_at=later)


def _refuse_incomplete(upload: Upload) -> None:
    if left := [file for file in missing(upload) if file.received < file.size]:
        names = ", ".join(file.path for file in left[:3]) + (" and others" if len(left) > 3 else "")
        raise UploadIncomplete(missing=names, missing_bytes=sum(file.size - file.received for file in left))


def sweep(now: datetime) -> int:
    """Delete what expired uploads, and processes that died, left behind; the number of uploads deleted."""
    sweep_incoming(now - LIFETIME)
    expired = Upload.objects.filter(expires_at__lte=now, version=None)
    count = 0
    for upload in expired:
        discard(upload)
        count += 1
    return count


def discard(upload: Upload) -> None:
    """Forget an upload and what it has received; a version that it has become stays."""
    for file in upload.files.all():
        _delete_pieces(file)
    upload.delete()


def _folder(file: UploadFile) -> str:
    return f"uploads/{file.upload_id.hex}/{file.pk}"


def _piece_name(file: UploadFile, offset: int) -> str:
    return f"{_folder(file)}/{offset:016x}"


def _write_piece(file: UploadFile, offset: int, chunk: bytes) -> None:
    name = _piece_name(file, offset)
    storage = weights_storage()
    # Left by a process that ended after writing it and before saying so.
    storage.delete(name)
    storage.save(name, ContentFile(chunk))


def _pieces(file: UploadFile) -> list[str]:
    try:
        _, names = weights_storage().listdir(_folder(file))
    except FileNotFoundError:
        return []
    return [f"{_folder(file)}/{name}" for name in sorted(names)]


def _delete_pieces(file: UploadFile) -> None:
    for name in _pieces(file):
        weights_storage().delete(name)


class _Joined:
    """Reads a file's pieces one after the other, up to its size."""

    def __init__(self, file: UploadFile, hear: Callable[[int], None]) -> None:
        self._blocks = self._read_all(file)
        self._hear = hear

    def read(self, _size: int = -1) -> bytes:
        block = next(self._blocks, b"")
        self._hear(len(block))
        return block

    @staticmethod
    def _read_all(file: UploadFile) -> Iterator[bytes]:
        """Counted pieces begin where the one before ends; others were left by processes that died."""
        position = 0
        while weights_storage().exists(_piece_name(file, position)):
            start = position
            with weights_storage().open(_piece_name(file, start), "rb") as piece:
                for block in piece.chunks():
                    position += len(block)
                    yield block
            # The storage lost this piece's bytes; the check of the size will say so.
            if position == start:
                return
