"""Numbers on pages: exact behind, short in front."""

import pytest
from django.utils import translation

from portal.kit import figures
from portal.kit.money import Money

DOLLAR = 100_000_000


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (0, "USD", "$0.00"),
        (120_000_000, "USD", "$1.20"),
        (123_456 * DOLLAR + 50_000_000, "USD", "$123,456.50"),
        (15_000_000, "USD", "$0.15"),
        (12_345, "USD", "$0.000123"),
        (1, "USD", "$0.00000001"),
        (-3 * DOLLAR, "USD", "−$3.00"),
        (7_000_000, "JPY", "¥7"),
        (5_000_000, "SEK", "0.05"),
    ],
)
def test_money_reads_short_and_never_as_nothing(amount: int, currency: str, text: str) -> None:
    assert figures.money_text(Money(amount, currency)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (1024, "1.02K"),
        (5_500_000, "5.5M"),
        (22_700_000, "22.7M"),
        (10**12, "1T"),
    ],
)
def test_large_numbers_keep_three_digits(value: int, text: str) -> None:
    assert figures.compact(value) == text


def test_sizes_durations_and_shares() -> None:
    assert [figures.size_text(n) for n in (812, 459_000, 90_900_000)] == ["812 B", "459 kB", "90.9 MB"]
    with translation.override("en"):
        assert [figures.duration_text(n) for n in (12, 1403, 180_000)] == ["12 ms", "1.4 s", "3 min"]
    assert figures.percent_text(0.9861) == "98.6%"
