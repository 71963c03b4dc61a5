"""Which listing an address means, for who is asking."""

from marketplace import catalogue
from marketplace.models import Listing
from portal.accounts.models import Organisation
from portal.kit.errors import NotFound


def visible(owner: str, slug: str, *, to: Organisation | None) -> Listing:
    """A listing to look at, on account of `to` (None for visitors). Raises `NotFound`."""
    return catalogue.find(owner, slug, viewer=to.pk if to else None)


def owned(slug: str, *, by: Organisation) -> Listing:
    """A listing of one's own. Raises `NotFound`."""
    mine = Listing.objects.filter(organisation=by, slug=slug)
    listing = mine.select_related("organisation", "current_version").first()
    if listing is None:
        raise NotFound(what="listing")
    return listing
