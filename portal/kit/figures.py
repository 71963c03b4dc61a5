"""Numbers as people read them. Exact integer or decimal arithmetic; the full value stays in a tooltip."""

from decimal import ROUND_HALF_EVEN, Decimal

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from portal.kit.money import Money, exponent

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "CNY": "¥", "JPY": "¥", "KRW": "₩", "INR": "₹"}
_SIGNIFICANT = 3


def money_text(money: Money) -> str:
    """`$1,234.50`; below one unit three significant digits, so that a small price never reads as nothing."""
    exact = Decimal(money.amount).scaleb(-6 - exponent(money.currency))
    places = exponent(money.currency)
    if exact and abs(exact) < 1:
        places = max(places, _SIGNIFICANT - 1 - exact.adjusted())
    rounded = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    sign = "−" if rounded < 0 else ""
    # Grouped alike in every language: Chinese formats of Django's own would not group at all.
    text = f"{_trimmed(abs(rounded), at_least=exponent(money.currency)):,f}"
    return f"{sign}{_SYMBOLS.get(money.currency, '')}{text}"


def exact_text(money: Money) -> str:
    """`1,234.50 USD`, to the last unit: for sentences, which have no tooltip."""
    return f"{money.major():,f} {money.currency}"


def _trimmed(value: Decimal, *, at_least: int) -> Decimal:
    """Without trailing zeros past the currency's own places."""
    short = value.normalize()
    _sign, _digits, places = short.as_tuple()
    enough = isinstance(places, int) and -places >= at_least
    return short if enough else value.quantize(Decimal(1).scaleb(-at_least))


def compact(value: int | float | Decimal) -> str:
    """`1.2K`, `34M`, `5.5B`: at most three significant digits."""
    number = Decimal(str(value))
    for limit, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if abs(number) >= limit:
            return f"{_short(number / limit)}{letter}"
    return _short(number)


def _short(number: Decimal) -> str:
    places = max(0, 2 - max(0, number.adjusted()))
    return number_format(_trimmed(number.quantize(Decimal(1).scaleb(-places)), at_least=0))


def size_text(count: int) -> str:
    """Bytes in decimal units: `90.9 MB`."""
    for limit, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= limit:
            return f"{_short(Decimal(count) / limit)} {unit}"
    return f"{count} B"


def duration_text(milliseconds: float) -> str:
    """`12 ms`, `1.4 s`, `3 min`."""
    if milliseconds < 1000:
        return _("%(n)s ms") % {"n": _short(Decimal(str(round(milliseconds, 1))))}
    if milliseconds < 90_000:
        return _("%(n)s s") % {"n": _short(Decimal(str(round(milliseconds / 1000, 2))))}
    return _("%(n)s min") % {"n": round(milliseconds / 60_000)}


def percent_text(fraction: float, places: int = 1) -> str:
    """`98.6%` of 0.986."""
    return f"{number_format(Decimal(str(fraction)) * 100, decimal_pos=places)}%"
