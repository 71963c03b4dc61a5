"""A new version is loaded and called before anyone may subscribe to it."""

import json
from pathlib import Path
from uuid import UUID

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference import tasks
from marketplace import examinations, examining, folders, publishing
from marketplace.models import Examination, Listing, Version
from portal.kit import clock
from tests.conftest import Cast
from tests.tiny_models import write_bert, write_llama

pytestmark = pytest.mark.usefixtures("clean_redis")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def release(cast: Cast, directory: Path, *, task: str) -> Version:
    listing = publishing.create_listing(
        cast.acme, by=cast.owner, slug=directory.name, name="Tried", task=task
    )
    version = examining.examine(
        folders.release(directory, folders.examine(directory, task=task), listing=listing, by=cast.owner)
    )
    assert version.state == Version.State.CHECKING, version.report
    return version


def try_it(version: Version) -> Version:
    tasks.try_version(str(version.pk))
    version.refresh_from_db()
    return version


@pytest.mark.parametrize(
    ("write", "task"), [(write_llama, "text-generation"), (write_bert, "feature-extraction")]
)
def test_a_version_that_answers_becomes_ready_and_current(
    cast: Cast, tmp_path: Path, write, task: str
) -> None:  # type: ignore[no-untyped-def]
    version = try_it(release(cast, write(tmp_path / "fine"), task=task))
    assert version.state == Version.State.READY, version.report
    assert "Loaded in" in version.report["findings"][-1]["message"]
    assert Listing.objects.get(pk=version.listing_id).current_version_id == version.pk


def test_weights_that_compute_no_numbers_are_refused_with_the_reason(cast: Cast, tmp_path: Path) -> None:
    directory = write_llama(tmp_path / "nan")
    weights = load_file(directory / "model.safetensors")
    save_file(
        {name: torch.full_like(w, float("nan")) for name, w in weights.items()},
        directory / "model.safetensors",
        {"format": "pt"},
    )
    version = try_it(release(cast, directory, task="text-generation"))
    assert version.state == Version.State.REFUSED
    finding = version.report["findings"][-1]
    assert finding["severity"] == "error"
    assert "not a number" in finding["message"]


def test_a_version_whose_trials_kill_their_process_is_refused_the_third_time(
    cast: Cast, tmp_path: Path
) -> None:
    version = release(cast, write_llama(tmp_path / "deadly"), task="text-generation")
    for _ in range(examinations.MOST_ATTEMPTS):
        # What a trial leaves behind whose process is killed: it is held, and nobody renews that.
        assert examinations.take("trial")
        assert examinations.take("trial") is None
        Examination.objects.update(held_until=clock.now())
    tasks.try_next()
    version.refresh_from_db()
    assert version.state == Version.State.REFUSED
    assert "memory" in version.report["findings"][-1]["message"]
    assert Examination.objects.get().ended_at is not None


def test_a_decided_version_is_not_tried_again(cast: Cast, tmp_path: Path) -> None:
    version = try_it(release(cast, write_llama(tmp_path / "once"), task="text-generation"))
    before = json.dumps(version.report)
    assert json.dumps(try_it(version).report) == before


def test_an_unknown_version_is_an_error(db: None) -> None:
    with pytest.raises(Version.DoesNotExist):
        tasks.try_version(str(UUID(int=1)))
