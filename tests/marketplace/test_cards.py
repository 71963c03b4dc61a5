"""A card is rendered when it is saved; whoever looks at it waits for nothing."""

import pytest
from django.test import Client

from marketplace import cards, publishing
from marketplace.models import Listing
from portal.kit import markdown
from portal.kit.errors import Invalid
from tests.conftest import Cast

CARD = "# Title\n\nSome *words*."


def page(cast: Cast, listing: Listing) -> str:
    return cast.browser(cast.owner).get(f"/listings/{listing.path}/").content.decode()


def test_no_visit_renders_a_card(cast: Cast, listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    publishing.edit_listing(listing, by=cast.owner, card=CARD)

    def render(text: str) -> str:
        raise AssertionError("a visitor waits for this")

    monkeypatch.setattr(markdown, "render", render)
    assert "<h2>Title</h2>" in page(cast, listing)
    # What another release has rendered is shown as text until it is made again.
    monkeypatch.setattr(markdown, "RENDERER", markdown.RENDERER + 1)
    shown = page(cast, listing)
    assert "<h2>Title</h2>" not in shown
    assert "# Title" in shown


def test_cards_of_another_release_are_rendered_again(cast: Cast, listing: Listing) -> None:
    publishing.edit_listing(listing, by=cast.owner, card=CARD)
    Listing.objects.update(card_renderer=0, card_html="<p>old</p>")
    assert cards.rebuild() == 1
    assert cards.rebuild() == 0
    assert "<h2>Title</h2>" in page(cast, listing)


def test_a_card_that_is_too_long_is_refused(cast: Cast, listing: Listing) -> None:
    card = "x" * (cards.MAX_CHARACTERS + 1)
    with pytest.raises(Invalid, match="card"):
        publishing.edit_listing(listing, by=cast.owner, card=card)
    with pytest.raises(Invalid, match="card"):
        publishing.create_listing(cast.acme, by=cast.owner, slug="b", name="B", task=listing.task, card=card)


@pytest.mark.parametrize("price", ["1e999999", "-1e999999", "1e-999999", "9" * 10_000])
def test_no_filter_of_the_catalogue_holds_a_process(db: None, price: str) -> None:
    assert Client().get("/", {"price": price}).status_code == 200
