"""From files to a version that others can call."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from marketplace import entitlement, pricing, publishing, subscribing
from marketplace.errors import (
    ListingSlugTaken,
    ListingTakenDown,
    ListingWithdrawn,
    NotPublishable,
    VersionExists,
    VersionNotReady,
    WeightsMissing,
)
from marketplace.models import Listing, Plan, Version
from portal.celery import app
from portal.kit import epochs, redis
from portal.kit.errors import Invalid, NotAllowed, NotFound
from tests.conftest import Cast
from tests.marketplace.conftest import keep

COMPONENTS = [pricing.Component(meter="output_tokens", included=100)]
Commit = Callable[..., object]


def ready(listing: Listing, folder: Path, cast: Cast) -> Version:
    version = publishing.add_version(listing, by=cast.owner, files=keep(folder))
    return publishing.record_trial(version.pk, ok=True, findings=[])


def free_plan(listing: Listing, cast: Cast) -> Plan:
    return pricing.create_plan(
        listing, by=cast.owner, kind="free", name="Free", slug="free", components=COMPONENTS
    )


def epoch(listing: Listing) -> int:
    return epochs.read([epochs.name("listing", listing.pk)])[0]


def test_a_developer_may_publish_and_an_outsider_learns_nothing(cast: Cast) -> None:
    terms = {"slug": "a", "name": "A", "task": "text-generation"}
    publishing.create_listing(cast.acme, by=cast.mate, **terms)
    with pytest.raises(NotFound):
        publishing.create_listing(cast.acme, by=cast.outsider, **terms)


def test_a_slug_is_taken_once(cast: Cast, listing: Listing) -> None:
    with pytest.raises(ListingSlugTaken):
        publishing.create_listing(
            cast.acme, by=cast.owner, slug=listing.slug, name="Again", task="text-generation"
        )


def test_bad_fields_are_refused(cast: Cast, listing: Listing) -> None:
    with pytest.raises(Invalid, match="slug"):
        publishing.create_listing(cast.acme, by=cast.owner, slug="a b", name="A", task="text-generation")
    with pytest.raises(Invalid, match="task"):
        publishing.create_listing(cast.acme, by=cast.owner, slug="ab", name="A", task="mind-reading")
    with pytest.raises(Invalid, match="summary"):
        publishing.edit_listing(listing, by=cast.owner, summary="x" * 241)


def test_sound_files_become_a_version_that_a_worker_tries(
    cast: Cast, listing: Listing, model: Path, django_capture_on_commit_callbacks: Commit
) -> None:
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        version = publishing.add_version(listing, by=cast.mate, files=keep(model), notes="First.")
    assert (version.number, version.state, version.notes) == (1, Version.State.CHECKING, "First.")
    assert version.report["facts"]["architecture"] == "llama"
    assert version.evaluation[0]["metric"] == "Perplexity"
    assert {file.path for file in version.files.all()} == {path.name for path in model.iterdir()}
    message = json.loads(redis.client().lpop("jobs"))
    assert message["headers"]["task"] == "inference.try_next"
    assert app.main == "mercato"


def test_the_card_fills_what_the_provider_left_blank(cast: Cast, listing: Listing, model: Path) -> None:
    publishing.edit_listing(listing, by=cast.owner, licence="mit")
    publishing.add_version(listing, by=cast.owner, files=keep(model))
    listing.refresh_from_db()
    assert (listing.licence, listing.languages, listing.card[:6]) == ("mit", ["en", "fr"], "# Tiny")


def test_unsound_files_become_a_refused_version_with_its_report(
    cast: Cast, listing: Listing, model: Path
) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    version = publishing.add_version(listing, by=cast.owner, files=keep(model))
    assert version.state == Version.State.REFUSED
    assert "pickle" in {finding["rule"] for finding in version.report["findings"]}
    assert "pytorch_model.bin" not in {file.path for file in version.files.all()}
    # Refused files may be sent again.
    assert publishing.add_version(listing, by=cast.owner, files=keep(model)).number == 2


def test_the_same_files_are_one_version(cast: Cast, listing: Listing, model: Path) -> None:
    version = publishing.add_version(listing, by=cast.owner, files=keep(model))
    (model / "junk.onnx").write_text("not kept, so no difference")
    with pytest.raises(VersionExists) as caught:
        publishing.add_version(listing, by=cast.owner, files=keep(model))
    assert caught.value.data["number"] == version.number


def test_what_the_database_cannot_hold_is_cleaned(cast: Cast, listing: Listing, model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config |= {"id2label": {"0": "a\x00b\ud800"}, "bad\x00implementation": 1}
    (model / "config.json").write_text(json.dumps(config))
    (model / "training.json").write_text(
        '{"loss": [NaN, 1.5, -Infinity], "\\u0000": "\\udfff", "deep": ' + "[" * 50 + "]" * 50 + "}"
    )
    (model / "README.md").write_text('---\ntags: ["a\\0b"]\nlicense: "m\\0t"\n---\nText\x00.')
    version = publishing.add_version(listing, by=cast.owner, files=keep(model))
    assert version.state == Version.State.CHECKING, version.report
    version.refresh_from_db()
    assert version.training["loss"] == [None, 1.5, None]
    assert version.report["facts"]["labels"] == ["a\ufffdb\ufffd"]
    listing.refresh_from_db()
    assert (listing.licence, listing.card) == ("m\ufffdt", "Text\ufffd.")


@pytest.mark.django_db(transaction=True)
def test_simultaneous_versions_get_their_own_numbers(cast: Cast, listing: Listing, model: Path) -> None:
    sent = []
    for number in range(4):
        (model / "NOTICE").write_text(str(number))
        sent.append(keep(model))
    numbers: list[int] = []

    def work(files: dict[str, tuple[str, int]]) -> None:
        numbers.append(publishing.add_version(listing, by=cast.owner, files=files).number)
        connection.close()

    threads = [threading.Thread(target=work, args=(files,)) for files in sent]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == [1, 2, 3, 4]


def test_bytes_that_nobody_sent_are_refused(cast: Cast, listing: Listing, model: Path) -> None:
    with pytest.raises(WeightsMissing):
        publishing.add_version(listing, by=cast.owner, files={**keep(model), "x.md": ("0" * 64, 1)})


def test_the_first_ready_version_is_current(cast: Cast, listing: Listing, model: Path) -> None:
    first = ready(listing, model, cast)
    assert first.listing.current_version == first
    (model / "NOTICE").write_text("second")
    second = ready(listing, model, cast)
    listing.refresh_from_db()
    assert listing.current_version == first
    publishing.make_current(second, by=cast.mate)
    publishing.make_current(first, by=cast.mate)
    listing.refresh_from_db()
    assert listing.current_version == first


def test_a_trial_counts_once(cast: Cast, listing: Listing, model: Path) -> None:
    version = publishing.add_version(listing, by=cast.owner, files=keep(model))
    finding = {"file": "", "rule": "trial", "severity": "error", "message": "NaN", "remedy": ""}
    refused = publishing.record_trial(version.pk, ok=False, findings=[finding])
    assert refused.state == Version.State.REFUSED
    assert refused.report["findings"][-1] == finding
    assert publishing.record_trial(version.pk, ok=True).state == Version.State.REFUSED
    with pytest.raises(VersionNotReady):
        publishing.make_current(version, by=cast.owner)


def test_publishing_needs_a_ready_version_and_a_plan(cast: Cast, listing: Listing, model: Path) -> None:
    with pytest.raises(NotPublishable, match="version"):
        publishing.publish(listing, by=cast.owner)
    ready(listing, model, cast)
    with pytest.raises(NotPublishable, match="plan"):
        publishing.publish(listing, by=cast.owner)
    free_plan(listing, cast)
    publishing.publish(listing, by=cast.owner)
    assert listing.is_live


def test_withdrawal_stops_calls_and_can_be_undone(
    cast: Cast, listing: Listing, model: Path, django_capture_on_commit_callbacks: Commit
) -> None:
    ready(listing, model, cast)
    plan = free_plan(listing, cast)
    publishing.publish(listing, by=cast.owner)
    buyer = cast.outsider.personal_organisation
    subscription = subscribing.subscribe(buyer, plan, by=cast.outsider)
    listing.refresh_from_db()
    assert entitlement.find(buyer.pk, listing) == subscription
    before = epoch(listing)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        publishing.withdraw(listing, by=cast.mate, reason="It was wrong.")
    assert epoch(listing) == before + 1
    with pytest.raises(ListingWithdrawn, match=r"It was wrong\."):
        entitlement.find(buyer.pk, listing)
    publishing.publish(listing, by=cast.mate)
    assert entitlement.find(buyer.pk, listing) == subscription


def test_only_an_operator_undoes_an_operators_takedown(cast: Cast, listing: Listing, model: Path) -> None:
    ready(listing, model, cast)
    free_plan(listing, cast)
    publishing.publish(listing, by=cast.owner)
    publishing.take_down(listing, by=cast.operator, reason="Licence.")
    for _ in range(2):
        with pytest.raises(ListingTakenDown, match="Licence"):
            publishing.publish(listing, by=cast.owner)
        publishing.withdraw(listing, by=cast.owner, reason="Mine.")
    publishing.restore(listing, by=cast.operator)
    assert listing.state == "withdrawn"
    publishing.publish(listing, by=cast.owner)
    assert listing.is_live


def test_an_outsider_changes_nothing(cast: Cast, listing: Listing, model: Path) -> None:
    version = ready(listing, model, cast)
    for act in (
        lambda: publishing.edit_listing(listing, by=cast.outsider, name="Mine"),
        lambda: publishing.publish(listing, by=cast.outsider),
        lambda: publishing.withdraw(listing, by=cast.outsider, reason=""),
        lambda: publishing.make_current(version, by=cast.outsider),
        lambda: publishing.add_version(listing, by=cast.outsider, files=keep(model)),
    ):
        with pytest.raises(NotFound):
            act()


def test_a_viewer_may_not_publish(cast: Cast, listing: Listing) -> None:
    cast.acme.memberships.filter(user=cast.mate).update(role="viewer")
    with pytest.raises(NotAllowed):
        publishing.edit_listing(listing, by=cast.mate, name="Mine")


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "0" * 64},
        {"weight_bytes": 1},
        {"number": 9},
        {"state": "refused"},
        {"architecture": "gpt2"},
    ],
)
def test_the_database_keeps_versions_as_they_were(
    cast: Cast, listing: Listing, model: Path, changes: dict[str, object]
) -> None:
    version = ready(listing, model, cast)
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        Version.objects.filter(pk=version.pk).update(**changes)
    with pytest.raises(DatabaseError, match="never changes"), transaction.atomic():
        version.files.update(sha256="0" * 64)


def test_calls_reach_the_current_or_the_named_version(cast: Cast, listing: Listing, model: Path) -> None:
    first = ready(listing, model, cast)
    (model / "NOTICE").write_text("second")
    second = publishing.add_version(listing, by=cast.owner, files=keep(model))
    listing.refresh_from_db()
    assert entitlement.find_version(listing) == first
    assert entitlement.find_version(listing, number=1) == first
    with pytest.raises(VersionNotReady):
        entitlement.find_version(listing, number=second.number)
    with pytest.raises(VersionNotReady):
        entitlement.find_version(listing, number=3)
