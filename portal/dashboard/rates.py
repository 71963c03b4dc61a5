"""What narrows the catalogue besides the listings' own facts: prices as people type them."""

from decimal import Decimal, InvalidOperation

from django.conf import settings

from portal.kit.money import from_major


def read_rate(text: str) -> int | None:
    """A price in whole units of the site's currency, such as "0.15", in micro-minor units; None if it is not one."""
    try:
        price = Decimal(text)
        rate = from_major(price, settings.CURRENCY).amount
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return rate if 0 <= price < 10**6 else None
