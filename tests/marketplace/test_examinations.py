"""What is examined waits in a line of its organisation, and organisations take turns; nothing in it is ever stuck."""

import hashlib
from pathlib import Path

import pytest
from django.test import Client

from inference import tasks
from marketplace import examinations, examining, folders, publishing, uploads
from marketplace.errors import TooManyExaminations
from marketplace.models import Examination, Listing, Upload, Version
from marketplace.models.examination import EndpointTrial
from portal.accounts.models import Organisation
from portal.kit import clock
from tests.conftest import Cast
from tests.marketplace.test_uploads import declare, one, send


def wait(organisation: Organisation, listing: Listing) -> Examination:
    trial = EndpointTrial.objects.create(
        listing=listing, created_by=listing.created_by, base_url="https://x.example/v1", model="m"
    )
    return examinations.enter(organisation, stage="trial", endpoint=trial)


def uploaded(cast: Cast, listing: Listing, model: Path) -> tuple[Upload, Version]:
    upload = uploads.begin(listing, by=cast.mate, files=declare(model))
    send(upload, model)
    return upload, uploads.complete(upload, by=cast.mate)


def test_organisations_take_turns_and_each_has_one_at_a_time(cast: Cast, listing: Listing) -> None:
    flood = [wait(cast.acme, listing) for _ in range(3)]
    other = wait(Organisation.objects.exclude(pk=cast.acme.pk).first(), listing)  # type: ignore[arg-type]
    first, second = examinations.take("trial"), examinations.take("trial")
    assert [first, second] == [flood[0], other]
    assert examinations.take("trial") is None, "the others wait for the first"
    for done in (first, second):
        assert done
        assert done.endpoint
        examinations.end(endpoint=done.endpoint)
    assert examinations.take("trial") == flood[1]


def test_an_organisation_may_let_only_so_many_wait(cast: Cast, listing: Listing) -> None:
    for _ in range(examinations.MOST_WAITING):
        wait(cast.acme, listing)
    with pytest.raises(TooManyExaminations):
        wait(cast.acme, listing)


def test_whoever_waits_sees_how_many_are_before_it(cast: Cast, listing: Listing) -> None:
    _, second = wait(cast.acme, listing), wait(cast.acme, listing)
    assert second.endpoint
    progress = examinations.progress_of(second.endpoint)
    assert progress
    assert (progress.step, progress.ahead) == ("waiting", 1)


def test_completing_an_upload_reads_nothing(
    cast: Cast, listing: Listing, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketplace.validation.examine", None)
    _, version = uploaded(cast, listing, model)
    assert (version.state, version.report["facts"]) == (Version.State.CHECKING, None)
    told = cast.browser(cast.owner).get(f"/api/listings/{listing.path}/versions/1/").json()
    assert told["progress"] == {"step": "waiting", "ahead": 0, "done_bytes": 0, "total_bytes": 0}
    assert "Waiting for its turn" in cast.browser(cast.owner).get(
        f"/studio/listings/{listing.slug}/versions/1/"
    ).content.decode()  # fmt: skip
    assert Client().get(f"/api/listings/{listing.path}/versions/1/").status_code == 404


def test_a_version_is_read_then_tried_each_in_its_turn(cast: Cast, listing: Listing, model: Path) -> None:
    _, version = uploaded(cast, listing, model)
    tasks.examine_next()
    version.refresh_from_db()
    assert version.report["facts"]["architecture"] == "llama"
    examination = Examination.objects.get()
    assert (examination.stage, examination.held_by, examination.attempts) == ("trial", None, 0)
    assert version.state == Version.State.CHECKING


def test_a_process_that_dies_while_it_reads_leaves_nothing_stuck(
    cast: Cast, listing: Listing, model: Path
) -> None:
    _, version = uploaded(cast, listing, model)
    for _ in range(examinations.MOST_ATTEMPTS):
        assert examinations.take("files")
        assert examinations.call_on() == 0, "held by who may yet live"
        Examination.objects.update(held_until=clock.now())
        assert examinations.call_on() == 1
    tasks.examine_next()
    version.refresh_from_db()
    assert version.state == Version.State.REFUSED
    assert "ended the process" in version.report["findings"][0]["message"]
    assert Examination.objects.get().ended_at is not None


def test_an_unexpected_fault_gives_it_back_to_be_done_once_more(
    cast: Cast, listing: Listing, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, version = uploaded(cast, listing, model)
    with monkeypatch.context() as broken:
        broken.setattr("marketplace.validation.examine", None)
        with pytest.raises(TypeError):
            tasks.examine_next()
    assert Examination.objects.get().held_by is None
    tasks.examine_next()
    version.refresh_from_db()
    assert version.examined_at is not None


def test_large_files_are_verified_in_jobs_and_wrong_ones_are_sent_again(
    cast: Cast, listing: Listing, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "VERIFIED_AT_ONCE", 0)
    upload = uploads.begin(listing, by=cast.mate, files=declare(model))
    send(upload, model)
    assert not upload.files.filter(stored=True).exists()
    wrong = upload.files.get(path="README.md")
    uploads._write_piece(wrong, 0, b"x" * wrong.size)
    version = uploads.complete(upload, by=cast.mate)
    tasks.examine_next()
    version.refresh_from_db()
    assert version.state == Version.State.REFUSED
    assert version.report["findings"][0]["file"] == "README.md"
    assert not version.files.exists()
    uploads.append(upload, "README.md", offset=0, chunk=(model / "README.md").read_bytes())
    again = uploads.complete(upload, by=cast.mate)
    tasks.examine_next()
    again.refresh_from_db()
    assert (again.number, again.state, again.examined_at is not None) == (2, Version.State.CHECKING, True)


def test_knowing_a_digest_is_not_enough_to_have_the_file(
    cast: Cast, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "VERIFIED_AT_ONCE", 0)
    secret = hashlib.sha256(b"another's").hexdigest()
    upload = uploads.begin(listing, by=cast.mate, files=[{**one(b"another's")[0], "sha256": secret}])
    uploads.append(upload, "README.md", offset=0, chunk=b"my guess!")
    version = uploads.complete(upload, by=cast.mate)
    assert not version.files.exists()
    assert not examining.examine(version).files.exists()


def test_the_same_files_are_refused_though_one_sends_more_that_is_not_kept(
    cast: Cast, listing: Listing, model: Path
) -> None:
    report = folders.examine(model, task=listing.task)
    first = examining.examine(folders.release(model, report, listing=listing, by=cast.owner))
    assert first.examined_at is not None
    twin = publishing.open_version(listing, by=cast.owner, files={"README.md": ("0" * 64, 1)})
    files = {file.path: (file.sha256, file.size) for file in first.files.all()}
    refused = publishing.record_report(twin.pk, report=report, files=files)
    assert (refused.state, refused.report["findings"][-1]["rule"]) == (Version.State.REFUSED, "same-files")
