"""Publishing by command: from a folder, or from a hub."""

import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.db import connection

from marketplace import examining, publishing, quota, weights
from marketplace.models import Listing, Upload, Version
from tests.conftest import Cast
from tests.marketplace.hub import COMMIT, Hub, serving

Edit = Callable[..., None]


def run(*arguments: object, **options: object) -> str:
    output = StringIO()
    call_command(*map(str, arguments), stdout=output, **options)
    return output.getvalue()


def refuse(*arguments: object) -> tuple[int, str]:
    """The exit code and all that was printed."""
    output = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(*map(str, arguments), stdout=output)
    return caught.value.returncode, f"{output.getvalue()}{caught.value}"


@pytest.fixture(autouse=True)
def may_use_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that an earlier test loaded has forbidden it to this process for good."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(model) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        yield hub


def test_a_folder_becomes_a_version(listing: Listing, model: Path) -> None:
    (model / ".git").mkdir()
    (model / ".git" / "evil.bin").write_text("x")
    printed = run("publish", model, "--listing", "acme/tiny", "--notes", "First.")
    assert "acme/tiny version 1 is stored" in printed
    assert "llama, text-generation" in printed
    version = examining.examine(Version.objects.get())
    assert (version.notes, version.created_by.email) == ("First.", "owner@example.com")
    assert (
        weights.directory(version).joinpath("config.json").read_bytes()
        == (model / "config.json").read_bytes()
    )
    assert "as version 1" in run("publish", model, "--listing", "acme/tiny")


def test_the_listing_can_be_made_on_the_way(cast: Cast, model: Path) -> None:
    code, printed = refuse("publish", model, "--listing", "acme/new")
    assert (code, "--create" in printed) == (1, True)
    run("publish", model, "--listing", "acme/new", "--create", "--name", "New", "--as", "mate@example.com")
    listing = Listing.objects.get()
    assert (listing.path, listing.name, listing.task) == ("acme/new", "New", "text-generation")
    assert listing.created_by == cast.mate


@pytest.mark.parametrize("path", ["nobody/tiny", "acme", "acme/tiny/3", ""])
def test_a_listing_needs_an_owner(cast: Cast, model: Path, path: str) -> None:
    assert refuse("publish", model, "--listing", path, "--create")[0] == 1


def test_outsiders_cannot_be_named(cast: Cast, listing: Listing, model: Path) -> None:
    code, printed = refuse("publish", model, "--listing", "acme/tiny", "--as", "outsider@example.com")
    assert (code, "no member" in printed) == (1, True)
    cast.acme.memberships.filter(user=cast.mate).update(role="viewer")
    code, printed = refuse("publish", model, "--listing", "acme/tiny", "--as", "mate@example.com")
    assert (code, "may not publish" in printed) == (1, True)


def test_a_missing_folder_is_an_error(listing: Listing, tmp_path: Path) -> None:
    assert refuse("publish", tmp_path / "nowhere", "--listing", "acme/tiny")[0] == 1


def test_what_is_refused_is_printed_and_not_stored(listing: Listing, model: Path, home: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    code, printed = refuse("publish", model, "--listing", "acme/tiny")
    assert code == 2
    assert "error    pytorch_model.bin: This is a pickle format" in printed
    assert not Version.objects.exists()
    assert not (home / "weights").exists() or not any((home / "weights").iterdir())


def test_links_are_refused(listing: Listing, model: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.md"
    secret.write_text("secret")
    (model / "NOTES.md").symlink_to(secret)
    code, printed = refuse("publish", model, "--listing", "acme/tiny")
    assert (code, "NOTES.md: This is a link" in printed) == (2, True)
    (model / "NOTES.md").unlink()
    (model / "1_Pooling").symlink_to(tmp_path)
    assert refuse("publish", model, "--listing", "acme/tiny")[0] == 2


def test_beyond_the_quota_nothing_is_stored(
    cast: Cast, model: Path, home: Path, settings: LazySettings
) -> None:
    settings.ORGANISATION_QUOTA_BYTES = 1000
    code, printed = refuse("publish", model, "--listing", "acme/new", "--create")
    assert (code, "Acme keeps 0 B of weights" in printed) == (1, True)
    assert not Listing.objects.exists()
    assert not Upload.objects.exists()
    assert not (home / "weights").exists() or not any((home / "weights").iterdir())


def test_more_than_a_version_may_have_is_not_stored(
    listing: Listing, model: Path, home: Path, settings: LazySettings
) -> None:
    settings.UPLOAD_LIMIT_BYTES = 1000
    code, printed = refuse("publish", model, "--listing", "acme/tiny")
    assert (code, "a version may have 1 kB at most" in printed) == (1, True)
    assert not (home / "weights").exists() or not any((home / "weights").iterdir())


def test_what_a_command_stores_counts_once(
    cast: Cast, listing: Listing, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, seen = sum(path.stat().st_size for path in model.iterdir()), []
    store = weights.store

    def watch(*arguments: object, **options: object) -> None:
        seen.append(quota.kept_bytes(cast.acme))
        store(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(weights, "store", watch)
    run("publish", model, "--listing", "acme/tiny")
    assert set(seen) == {total}, "all of it is granted before the first byte is stored"
    run("publish", model, "--listing", "acme/tiny")
    assert quota.kept_bytes(cast.acme) == total
    assert not Upload.objects.filter(version=None).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("ok", [True, False])
def test_waiting_tells_how_the_trial_went(listing: Listing, model: Path, ok: bool) -> None:
    finding = {"file": "", "rule": "trial", "severity": "error", "message": "It says NaN.", "remedy": ""}

    def try_it() -> None:
        while not Version.objects.exists():
            time.sleep(0.02)
        examining.examine(Version.objects.get())
        publishing.record_trial(Version.objects.get().pk, ok=ok, findings=[] if ok else [finding])
        connection.close()

    worker = threading.Thread(target=try_it)
    worker.start()
    if ok:
        assert "version 1 is ready" in run("publish", model, "--listing", "acme/tiny", "--wait")
    else:
        code, printed = refuse("publish", model, "--listing", "acme/tiny", "--wait")
        assert (code, "It says NaN." in printed) == (3, True)
    worker.join()


def test_waiting_ends(listing: Listing, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketplace.management.releasing.WAIT_SECONDS", 0)
    assert refuse("publish", model, "--listing", "acme/tiny", "--wait")[0] == 4


def test_a_hub_model_becomes_a_version(listing: Listing, hub: Hub, model: Path, home: Path) -> None:
    printed = run("import_hub", "them/tiny", "--listing", "acme/tiny")
    assert "acme/tiny version 1 is stored" in printed
    version = examining.examine(Version.objects.get())
    assert version.notes == f"Imported from them/tiny at {COMMIT}."
    assert {file.path for file in version.files.all()} == {path.name for path in model.iterdir()}
    directory = weights.directory(version)
    assert (directory / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert list((home / "imports").iterdir()) == []


def test_nothing_unwanted_is_fetched_from_a_hub(listing: Listing, hub: Hub) -> None:
    for name in ("pytorch_model.bin", "modeling_evil.py", "model.onnx", "x.zip"):
        (hub.folder / name).write_bytes(b"evil")
    printed = run("import_hub", "them/tiny", "--listing", "acme/tiny", "--revision", "main")
    assert "Left out, as safetensors alone are taken: pytorch_model.bin, x.zip." in printed
    assert not hub.fetched() & {"pytorch_model.bin", "modeling_evil.py", "model.onnx", "x.zip"}
    assert "config.json" in hub.fetched()


def test_patterns_narrow_what_is_fetched(listing: Listing, hub: Hub) -> None:
    code, printed = refuse(
        "import_hub", "them/tiny", "--listing", "acme/tiny", "--allow", "*.md", "config.json"
    )
    assert (code, "weights" in printed) == (2, True)
    assert hub.fetched() == {"README.md", "config.json"}


def test_a_pickle_only_hub_model_is_refused(listing: Listing, hub: Hub) -> None:
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    code, printed = refuse("import_hub", "them/tiny", "--listing", "acme/tiny")
    assert (code, "There are no weights in safetensors format" in printed) == (2, True)
    assert "pytorch_model.bin" not in hub.fetched()


def test_too_large_a_hub_model_is_not_fetched(listing: Listing, hub: Hub, settings: LazySettings) -> None:
    hub.claimed_sizes["model.safetensors"] = settings.UPLOAD_LIMIT_BYTES + 1
    code, printed = refuse("import_hub", "them/tiny", "--listing", "acme/tiny")
    assert (code, "a version may have" in printed) == (1, True)
    assert hub.fetched() == set()


def test_a_hub_model_beyond_the_quota_is_not_fetched(
    listing: Listing, hub: Hub, settings: LazySettings
) -> None:
    settings.ORGANISATION_QUOTA_BYTES = 1000
    code, printed = refuse("import_hub", "them/tiny", "--listing", "acme/tiny")
    assert (code, "Acme keeps 0 B of weights" in printed) == (1, True)
    assert hub.fetched() == set()


def test_nothing_is_fetched_for_who_may_not_publish(cast: Cast, listing: Listing, hub: Hub) -> None:
    cast.acme.memberships.filter(user=cast.mate).update(role="viewer")
    for arguments in (["acme/other"], ["nobody/tiny"], ["acme/tiny", "--as", "mate@example.com"]):
        assert refuse("import_hub", "them/tiny", "--listing", *arguments)[0] == 1
    assert hub.fetched() == set()


@pytest.mark.parametrize(
    "arguments", [["them/other"], ["them/tiny", "--revision", "v9"], ["not a repository"], ["../../etc"]]
)
def test_what_a_hub_does_not_have_is_told(listing: Listing, hub: Hub, arguments: list[str]) -> None:
    code, printed = refuse("import_hub", *arguments, "--listing", "acme/tiny")
    assert (code, "could not be fetched" in printed) == (1, True)


def test_a_hub_that_is_away_is_told(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "could not be fetched" in refuse("import_hub", "them/tiny", "--listing", "acme/tiny")[1]
