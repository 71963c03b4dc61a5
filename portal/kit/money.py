"""Money: an integer of micro-minor units (a millionth of a cent) with its currency. No floats.

The only place that turns micro-minor units into a processor's minor units or into text.
"""

from dataclasses import dataclass
from decimal import Decimal

MICRO = 1_000_000
# Far beyond any amount, before the point and behind it.
MOST_DIGITS = 40
# ISO 4217 exponents that are not 2.
_EXPONENTS = dict.fromkeys(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV",
     "XAF", "XOF", "XPF"), 0,
) | dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3)  # fmt: skip


def exponent(currency: str) -> int:
    """Digits after the point in one unit of the currency."""
    return _EXPONENTS.get(currency, 2)


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """`amount` micro-minor units of `currency`: Money(100_000_000, "USD") is one dollar."""

    amount: int
    currency: str

    def __add__(self, other: "Money") -> "Money":
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        return Money(self.amount - self._same(other).amount, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __str__(self) -> str:
        return f"{self.currency} {self.major():f}"

    def major(self) -> Decimal:
        """The exact amount in whole units (dollars), without trailing zeros past cents."""
        digits = exponent(self.currency)
        exact = Decimal(self.amount).scaleb(-6 - digits)
        short = exact.quantize(Decimal(1).scaleb(-digits))
        return short if short == exact else exact.normalize()

    def minor(self) -> int:
        """Whole minor units (cents) for a payment processor, halves away from zero."""
        whole, rest = divmod(abs(self.amount), MICRO)
        rounded = whole + (rest * 2 >= MICRO)
        return rounded if self.amount >= 0 else -rounded

    def _same(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")
        return other


def from_major(text: str | Decimal, currency: str) -> Money:
    """Exact money from a decimal such as "0.15". Raises `ValueError` for parts below a micro-minor unit, and for what
    no amount can be: "1e999999" would take half a minute to write out.
    """
    typed = Decimal(text)
    if typed and not -MOST_DIGITS < typed.adjusted() < MOST_DIGITS:
        raise ValueError(f"{currency} of more than {MOST_DIGITS} digits")
    exact = typed.scaleb(6 + exponent(currency))
    if exact != exact.to_integral_value():
        raise ValueError(f"{text} {currency} is finer than a millionth of a minor unit")
    return Money(int(exact), currency)
