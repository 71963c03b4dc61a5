"""Uploads resume after any crash, and nothing counts that is not stored and verified."""

import contextlib
import hashlib
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection, transaction

from marketplace import examining, folders, publishing, quota, uploads, weights
from marketplace.errors import (
    ChunkTooLarge,
    DigestMismatch,
    QuotaExceeded,
    SizeMismatch,
    UploadIncomplete,
    UploadOver,
    UploadRefused,
    VersionExists,
    WrongOffset,
)
from marketplace.models import Listing, Upload, Version
from marketplace.uploads import Declared
from marketplace.weights.storage import weights_storage
from portal.kit import clock
from portal.kit.errors import Conflict, NotFound
from tests.conftest import Cast


def declare(folder: Path) -> list[Declared]:
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def one(content: bytes, path: str = "README.md") -> list[Declared]:
    return [{"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}]


@pytest.fixture
def begin(cast: Cast, listing: Listing) -> Callable[[list[Declared]], Upload]:
    return lambda files: uploads.begin(listing, by=cast.mate, files=files)


Begin = Callable[[list[Declared]], Upload]


def send(upload: Upload, folder: Path, *, chunk: int = 1000) -> None:
    for file in upload.files.all():
        content = (folder / file.path).read_bytes()
        for offset in range(0, len(content), chunk):
            uploads.append(upload, file.path, offset=offset, chunk=content[offset : offset + chunk])


def pieces(home: Path) -> list[Path]:
    return [path for path in (home / "weights" / "uploads").rglob("*") if path.is_file()]


def test_a_folder_becomes_a_version(
    cast: Cast, begin: Begin, model: Path, home: Path, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    upload = begin(declare(model))
    with django_capture_on_commit_callbacks(execute=True):
        send(upload, model)
        version = uploads.complete(upload, by=cast.mate)
    assert (version.state, version.examined_at) == (Version.State.CHECKING, None)
    version = examining.examine(version)
    assert version.state == Version.State.CHECKING, version.report
    for path in model.iterdir():
        stored = version.files.get(path=path.name)
        assert weights.open_stored(stored.sha256).read() == path.read_bytes()
    assert pieces(home) == []


def test_completing_twice_gives_one_version(cast: Cast, begin: Begin, model: Path) -> None:
    upload = begin(declare(model))
    send(upload, model)
    first = uploads.complete(upload, by=cast.mate)
    assert uploads.complete(upload, by=cast.mate) == first
    with pytest.raises(UploadOver):
        uploads.append(upload, "README.md", offset=0, chunk=b"x")


def test_a_wrong_offset_tells_the_right_one(begin: Begin) -> None:
    upload = begin(one(b"0123456789"))
    uploads.append(upload, "README.md", offset=0, chunk=b"0123")
    for wrong in (0, 3, 5, 10**12, -1):
        with pytest.raises(WrongOffset) as caught:
            uploads.append(upload, "README.md", offset=wrong, chunk=b"4")
        assert caught.value.data["offset"] == 4
    file = uploads.append(upload, "README.md", offset=4, chunk=b"456789")
    assert (file.received, file.stored) == (10, False)
    assert upload.files.get().stored


def test_a_chunk_that_was_not_counted_is_sent_again(begin: Begin) -> None:
    content = b"0123456789"
    upload = begin(one(content))
    uploads.append(upload, "README.md", offset=0, chunk=b"0123")
    file = upload.files.get()
    # A process wrote the next piece, and died before the database knew.
    uploads._write_piece(file, 4, b"45 torn")
    uploads._write_piece(file, 8, b"89 more")
    with pytest.raises(WrongOffset) as caught:
        uploads.append(upload, "README.md", offset=7, chunk=b"789")
    assert caught.value.data["offset"] == 4
    uploads.append(upload, "README.md", offset=4, chunk=b"456789")
    stored = upload.files.get()
    assert stored.stored
    assert weights.open_stored(stored.sha256).read() == content


def test_a_crash_before_the_check_is_made_good(cast: Cast, begin: Begin, model: Path) -> None:
    upload = begin(declare(model))
    send(upload, model)
    # As if the process had died between counting the last chunk and storing the file.
    file = upload.files.get(path="README.md")
    uploads._write_piece(file, 0, (model / "README.md").read_bytes())
    upload.files.filter(pk=file.pk).update(stored=False)
    assert uploads.complete(upload, by=cast.mate).number == 1


def test_a_refused_version_keeps_the_files_of_a_crashed_upload(
    cast: Cast, begin: Begin, model: Path, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    first, again = begin(declare(model)), begin(declare(model))
    send(first, model)
    examining.examine(uploads.complete(first, by=cast.mate))
    # Every byte has arrived, but the process died before the check of one file.
    whole = (model / "README.md").read_bytes()
    for file in again.files.exclude(path="README.md"):
        uploads.append(again, file.path, offset=0, chunk=(model / file.path).read_bytes())
    file = again.files.get(path="README.md")
    uploads._write_piece(file, 0, whole)
    again.files.filter(pk=file.pk).update(received=len(whole))
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(VersionExists):
        uploads.complete(again, by=cast.mate)
    publishing.record_trial(Version.objects.get().pk, ok=False)
    assert uploads.complete(again, by=cast.mate).number == 2


def test_a_callers_rollback_keeps_the_pieces(begin: Begin, model: Path, home: Path) -> None:
    upload = begin(one(b"0123"))
    with contextlib.suppress(KeyboardInterrupt), transaction.atomic():
        uploads.append(upload, "README.md", offset=0, chunk=b"0123")
        raise KeyboardInterrupt
    assert len(pieces(home)) == 1


def test_other_bytes_than_declared_start_over(
    begin: Begin, home: Path, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    upload = begin(one(b"0123456789"))
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(DigestMismatch):
        uploads.append(upload, "README.md", offset=0, chunk=b"9876543210")
    file = upload.files.get()
    assert (file.received, file.stored) == (0, False)
    assert pieces(home) == []
    uploads.append(upload, "README.md", offset=0, chunk=b"0123456789")
    assert upload.files.get().stored


@pytest.mark.parametrize("left", [b"", b"01", None])
def test_a_piece_that_the_storage_lost_starts_the_file_over(
    begin: Begin, home: Path, left: bytes | None
) -> None:
    upload = begin(one(b"0123456789"))
    uploads.append(upload, "README.md", offset=0, chunk=b"0123")
    (piece,) = pieces(home)
    piece.unlink() if left is None else piece.write_bytes(left)
    with pytest.raises(SizeMismatch):
        uploads.append(upload, "README.md", offset=4, chunk=b"456789")
    assert upload.files.get().received == 0


def test_more_bytes_than_declared_are_refused(begin: Begin) -> None:
    upload = begin(one(b"0123"))
    with pytest.raises(SizeMismatch):
        uploads.append(upload, "README.md", offset=0, chunk=b"01234")
    with pytest.raises(ChunkTooLarge):
        uploads.append(upload, "README.md", offset=0, chunk=bytes(uploads.MAX_CHUNK_BYTES + 1))


def test_an_incomplete_upload_says_what_is_missing(cast: Cast, begin: Begin) -> None:
    upload = begin(one(b"0123"))
    uploads.append(upload, "README.md", offset=0, chunk=b"01")
    with pytest.raises(UploadIncomplete) as caught:
        uploads.complete(upload, by=cast.mate)
    assert caught.value.data == {"missing": "README.md", "missing_bytes": 2}


def test_empty_files_need_no_chunk(begin: Begin) -> None:
    assert begin(one(b"")).files.get().stored


def test_a_file_that_was_not_declared_is_unknown(begin: Begin) -> None:
    with pytest.raises(NotFound):
        uploads.append(begin(one(b"x")), "LICENSE", offset=0, chunk=b"x")


@pytest.mark.parametrize("path", ["../x.md", "/x.md", "a\\b.md", "pytorch_model.bin", "x.zip", ""])
def test_what_no_version_may_have_is_refused_before_it_is_sent(begin: Begin, path: str) -> None:
    with pytest.raises(UploadRefused) as caught:
        begin([*one(b"x"), *one(b"x", path)])
    assert len(caught.value.data["findings"]) == 1
    assert not Upload.objects.exists()


def test_what_a_version_does_not_keep_need_not_be_sent(begin: Begin) -> None:
    upload = begin([*one(b"x"), *one(b"x", "model.onnx"), *one(b"x", "evil.py")])
    assert [file.path for file in upload.files.all()] == ["README.md"]


def test_pickles_beside_safetensors_need_not_be_sent(begin: Begin) -> None:
    upload = begin([*one(b"x", "model.safetensors"), *one(b"x", "pytorch_model.bin"), *one(b"x", "x.zip")])
    assert [file.path for file in upload.files.all()] == ["model.safetensors"]


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "A" * 64, "../" + "0" * 61, "0" * 64 + "\n"])
def test_digests_are_digests(begin: Begin, sha256: str) -> None:
    with pytest.raises(UploadRefused):
        begin([{"path": "README.md", "size": 1, "sha256": sha256}])


def test_sizes_and_counts_are_limited(begin: Begin, settings: LazySettings) -> None:
    settings.UPLOAD_LIMIT_BYTES = 10
    with pytest.raises(UploadRefused):
        begin(one(b"0" * 11))
    with pytest.raises(UploadRefused):
        begin([*one(b"x"), *one(b"y")])
    with pytest.raises(UploadRefused):
        begin([])
    for _ in range(uploads.MAX_OPEN):
        begin(one(b"x"))
    with pytest.raises(Conflict):
        begin(one(b"x"))


def test_an_organisation_has_a_quota(cast: Cast, begin: Begin, model: Path, settings: LazySettings) -> None:
    files = declare(model)
    total = sum(file["size"] for file in files)
    settings.ORGANISATION_QUOTA_BYTES = total + 10
    upload = begin(files)
    with pytest.raises(QuotaExceeded) as caught:
        begin(one(b"0" * 11))
    assert (caught.value.data["kept"], caught.value.data["limit"]) == (total, total + 10)
    send(upload, model)
    version = uploads.complete(upload, by=cast.mate)
    assert quota.kept_bytes(cast.acme) == total
    examining.examine(version)
    assert quota.kept_bytes(cast.acme) == total
    with pytest.raises(QuotaExceeded):
        begin(one(b"0" * 11))
    begin(one(b"0" * 10))
    Upload.objects.update(expires_at=clock.now())
    begin(one(b"1" * 10))


@pytest.mark.django_db(transaction=True)
def test_of_simultaneous_publications_only_those_within_the_quota_go_on(
    cast: Cast, begin: Begin, model: Path, settings: LazySettings
) -> None:
    files = declare(model)
    total = sum(file["size"] for file in files)
    settings.ORGANISATION_QUOTA_BYTES = total * 3 // 2
    listings = [
        publishing.create_listing(cast.acme, by=cast.owner, slug=f"l{each}", name="L", task="text-generation")
        for each in range(4)
    ]
    report = folders.examine(model, task="text-generation")
    done: list[str] = []
    barrier = threading.Barrier(8)

    def work(each: int) -> None:
        try:
            barrier.wait()
            if each % 2:
                folders.release(model, report, listing=listings[each // 2], by=cast.owner)
            else:
                begin(files)
            done.append("granted")
        except QuotaExceeded:
            done.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(each,)) for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count("granted") == 1
    assert quota.kept_bytes(cast.acme) == total


def test_expired_uploads_take_nothing_and_are_swept(cast: Cast, begin: Begin, home: Path) -> None:
    upload = begin(one(b"0123"))
    uploads.append(upload, "README.md", offset=0, chunk=b"01")
    assert uploads.sweep(clock.now()) == 0
    Upload.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    with pytest.raises(UploadOver):
        uploads.append(upload, "README.md", offset=2, chunk=b"23")
    upload.refresh_from_db()
    with pytest.raises(UploadOver):
        uploads.complete(upload, by=cast.mate)
    assert uploads.sweep(clock.now()) == 1
    assert not Upload.objects.exists()
    assert pieces(home) == []


def test_an_outsider_sees_no_upload(cast: Cast, begin: Begin) -> None:
    upload = begin(one(b"x"))
    assert uploads.find(upload.pk, by=cast.owner) == upload
    with pytest.raises(NotFound):
        uploads.find(upload.pk, by=cast.outsider)


@pytest.mark.django_db(transaction=True)
def test_of_simultaneous_chunks_one_counts(begin: Begin) -> None:
    upload = begin(one(b"01234567"))
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        try:
            barrier.wait()
            uploads.append(upload, "README.md", offset=0, chunk=b"0123")
            outcomes.append("counted")
        except WrongOffset as wrong:
            outcomes.append(f"go on from {wrong.data['offset']}")
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["counted", *["go on from 4"] * 7]
    uploads.append(upload, "README.md", offset=4, chunk=b"4567")
    assert upload.files.get().stored
    assert weights_storage().exists(f"{upload.files.get().sha256[:2]}/{upload.files.get().sha256}")


def test_names_sizes_and_quotas_are_refused_before_anything_is_hashed(
    cast: Cast, listing: Listing, settings: LazySettings
) -> None:
    browser, path = cast.browser(cast.mate), f"/api/listings/{listing.path}/uploads/check/"

    def ask(**sizes: int) -> Any:
        files = [{"path": name.replace("_", "."), "size": size} for name, size in sizes.items()]
        return browser.post(path, {"files": files}, content_type="application/json")

    assert ask(README_md=5, model_onnx=7).json() == {"paths": ["README.md"]}
    assert ask(evil_zip=5).json()["error"]["findings"][0]["file"] == "evil.zip"
    settings.ORGANISATION_QUOTA_BYTES = 10
    refused = ask(config_json=11)
    assert (refused.status_code, refused.json()["error"]["code"]) == (413, "quota_exceeded")
    assert not Upload.objects.exists()
