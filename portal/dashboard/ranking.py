"""What narrows the catalogue besides the listings' own facts: prices as people type them."""

from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from marketplace.models import Listing, Plan
from portal.kit.money import from_major


def read_price(text: str) -> Decimal | None:
    """A price in whole units of the site's currency, such as "0.15"; None if it is not one."""
    try:
        price = Decimal(text)
        from_major(price, settings.CURRENCY)
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return price if 0 <= price < 10**6 else None


def costing_at_most(found: QuerySet[Listing], price: Decimal) -> QuerySet[Listing]:
    """Listings with an open plan whose every price of tokens is `price` per million or less; 0 asks for a free
    plan, which costs nothing whatever it counts.
    """
    if not price:
        return found.filter(
            Exists(Plan.objects.filter(listing=OuterRef("pk"), kind="free", archived_at=None))
        )
    return found.filter(figures__token_rate__lte=from_major(price, settings.CURRENCY).amount)
