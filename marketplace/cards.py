"""Cards as HTML: rendered when they are saved and kept beside the text, so that no visitor waits for it."""

from django.utils.safestring import SafeString, mark_safe

from marketplace.models import Listing
from portal.kit import markdown
from portal.kit.errors import Invalid

MAX_CHARACTERS = 200_000
BATCH = 500


def render_into(listing: Listing) -> list[str]:
    """Make the HTML of the listing's card; the names of the fields that then have to be saved."""
    listing.card_html, listing.card_renderer = markdown.render(listing.card), markdown.RENDERER
    return ["card_html", "card_renderer"]


def check(text: str) -> None:
    """Raises `Invalid` for a card that is too long."""
    if len(text) > MAX_CHARACTERS:
        raise Invalid(reason=f"card: at most {MAX_CHARACTERS} characters are taken.")


def shown(listing: Listing) -> SafeString:
    """The card as HTML; as plain text for the moments in which another release's HTML is not yet made again."""
    is_current = listing.card_renderer == markdown.RENDERER
    html = listing.card_html if is_current else markdown.plain(listing.card) if listing.card else ""
    return mark_safe(html)  # noqa: S308 - sanitised before it was stored


def rebuild() -> int:
    """Render what another release's renderer left; how many cards that were. Safe beside those who edit."""
    stale = Listing.objects.filter(card_renderer__lt=markdown.RENDERER)
    count = 0
    while batch := list(stale.only("card")[:BATCH]):
        for listing in batch:
            fields = {name: getattr(listing, name) for name in render_into(listing)}
            count += Listing.objects.filter(pk=listing.pk, card=listing.card).update(**fields)
    return count
