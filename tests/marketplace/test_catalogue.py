"""The catalogue shows what is live, and finds it by words, filters and name."""

import pytest

from marketplace import catalogue, pricing, publishing, subscribing
from marketplace.catalogue import Filters
from marketplace.models import Listing, Version
from portal.kit.errors import NotFound
from tests.conftest import Cast


def shelve(cast: Cast, slug: str, *, kind: str = "free", size: int = 1, **fields: object) -> Listing:
    """A published listing whose version exists in the catalogue alone."""
    told = {"name": slug.replace("-", " ").title(), "task": "text-generation", **fields}
    listing = publishing.create_listing(cast.acme, by=cast.owner, slug=slug, **told)  # type: ignore[arg-type]
    version = Version.objects.create(
        listing=listing, number=1, digest=slug, task=listing.task, architecture="llama", weight_bytes=1,
        memory_bytes=1, parameter_count=size, state=Version.State.READY, created_by=cast.owner,
    )  # fmt: skip
    Listing.objects.filter(pk=listing.pk).update(current_version=version)
    fee = {} if kind == "free" else {"monthly_fee": 1}
    pricing.create_plan(listing, by=cast.owner, kind=kind, name="Plan", slug="plan", **fee)  # type: ignore[arg-type]
    publishing.publish(listing, by=cast.owner)
    return listing


@pytest.fixture
def shelf(cast: Cast) -> None:
    shelve(
        cast, "story-writer", summary="Writes stories for children.", licence="mit", tags=["fiction"], size=10
    )
    shelve(
        cast,
        "poem-writer",
        summary="Poetry.",
        card="It was trained on story books.",
        languages=["fr"],
        size=30,
    )
    shelve(cast, "digits", task="image-classification", name="Handwritten digits", kind="paid", size=20)


def slugs(text: str = "", **filters: object) -> list[str]:
    return [listing.slug for listing in catalogue.search(text, Filters(**filters))]  # type: ignore[arg-type]


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ["digits", "poem-writer", "story-writer"]),
        ("story", ["story-writer", "poem-writer"]),
        ("stories", ["story-writer", "poem-writer"]),
        ("sto", ["story-writer", "poem-writer"]),
        ("WRIT", ["poem-writer", "story-writer"]),
        ("writer poem", ["poem-writer"]),
        ("writer poe", ["poem-writer"]),
        # Who begins the next word has ended the one before.
        ("writ poem", []),
        ("fiction", ["story-writer"]),
        ("poem digits", []),
        ("acme/", ["digits", "poem-writer", "story-writer"]),
        ("acme/poem", ["poem-writer"]),
        ("nobody/poem", []),
        ("'; DROP TABLE x; --", []),
        ("!!! &|() :*", ["digits", "poem-writer", "story-writer"]),
        ("x" * 10_000, []),
    ],
)
def test_words_find_listings(text: str, found: list[str]) -> None:
    assert sorted(slugs(text)) == sorted(found)


@pytest.mark.usefixtures("shelf")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"task": "image-classification"}, {"digits"}),
        ({"plan_kind": "paid"}, {"digits"}),
        ({"plan_kind": "mixed"}, set()),
        ({"licence": "mit"}, {"story-writer"}),
        ({"language": "fr"}, {"poem-writer"}),
        ({"tag": "fiction"}, {"story-writer"}),
        ({"provider": "acme"}, {"digits", "poem-writer", "story-writer"}),
        ({"provider": "nobody"}, set()),
        ({"largest": 20}, {"digits", "story-writer"}),
    ],
)
def test_filters_narrow(filters: dict[str, object], found: set[str]) -> None:
    assert set(slugs(**filters)) == found


@pytest.mark.usefixtures("shelf")
def test_sorts() -> None:
    assert [each.slug for each in catalogue.search(sort="smallest")] == [
        "story-writer",
        "digits",
        "poem-writer",
    ]
    assert [each.slug for each in catalogue.search(sort="newest")] == [
        "digits",
        "poem-writer",
        "story-writer",
    ]
    assert [each.name for each in catalogue.search(sort="name")] == [
        "Handwritten digits",
        "Poem Writer",
        "Story Writer",
    ]


@pytest.mark.usefixtures("shelf")
def test_a_name_counts_more_than_a_mention() -> None:
    assert slugs("story")[0] == "story-writer"


def test_drafts_and_withdrawn_listings_are_not_shown(cast: Cast) -> None:
    publishing.create_listing(cast.acme, by=cast.owner, slug="draft", name="Draft", task="text-generation")
    gone = shelve(cast, "gone")
    publishing.withdraw(gone, by=cast.owner, reason="Over.")
    assert slugs() == []
    assert {listing.slug for listing in catalogue.owned(cast.acme)} == {"draft", "gone"}


def test_who_may_look(cast: Cast) -> None:
    stranger = cast.outsider.personal_organisation
    draft = publishing.create_listing(
        cast.acme, by=cast.owner, slug="draft", name="D", task="text-generation"
    )
    gone = shelve(cast, "gone")
    assert catalogue.find("acme", "gone") == gone
    subscribing.subscribe(stranger, gone.plans.get(), by=cast.outsider)
    publishing.withdraw(gone, by=cast.owner, reason="Over.")
    assert catalogue.find("acme", "draft", viewer=cast.acme.pk) == draft
    assert catalogue.find("acme", "gone", viewer=stranger.pk) == gone
    for slug, viewer in (("draft", None), ("draft", stranger.pk), ("gone", None)):
        with pytest.raises(NotFound):
            catalogue.find("acme", slug, viewer=viewer)
