"""Studio lets whoever owns a version try it before it has a plan; others see nothing of it."""

import pytest

from marketplace import publishing
from marketplace.models import Listing, Version
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]


@pytest.fixture
def draft(cast: Cast) -> Listing:
    """Two ready versions, no plan, not published."""
    made = publishing.create_listing(
        cast.acme, by=cast.owner, slug="writer", name="Writer", task="text-generation"
    )
    for number in (1, 2):
        version = Version.objects.create(
            listing=made, number=number, digest=str(number) * 64, task=made.task, architecture="llama", context_length=128,
            weight_bytes=4000, memory_bytes=8000, state=Version.State.READY, created_by=cast.owner,
        )  # fmt: skip
        made.current_version = made.current_version or version
    made.save()
    return made


def test_a_draft_and_a_version_before_its_release_are_played_with(cast: Cast, draft: Listing) -> None:
    browser = cast.browser(cast.mate)
    page = browser.get("/listings/acme/writer/").content.decode()
    assert "Bearer pt_" in page
    assert "trying it is free" in page
    named = browser.get("/studio/listings/writer/versions/2/").content.decode()
    assert '"model": "acme/writer:2"' in named
    assert "Bearer pt_" in named
    assert "<script src=" not in named, "no browser runs what has no nonce"
    api = browser.get("/api/listings/acme/writer/plans/").json()
    assert api == [], "no plan that anybody could take"
    assert browser.get("/api/subscriptions/").json()["results"] == []


def test_outsiders_and_those_who_may_make_no_calls_do_not(cast: Cast, draft: Listing) -> None:
    cast.acme.memberships.filter(user=cast.mate).update(role="viewer")
    page = cast.browser(cast.mate).get("/listings/acme/writer/").content.decode()
    assert "Bearer pt_" not in page
    assert cast.browser(cast.outsider).get("/listings/acme/writer/").status_code == 404


def test_an_owner_is_not_asked_to_subscribe_to_its_own_model(cast: Cast, draft: Listing) -> None:
    Listing.objects.filter(pk=draft.pk).update(published_at=draft.created_at)
    page = cast.browser(cast.owner).get("/listings/acme/writer/").content.decode()
    assert ">Subscribe</a>" not in page
