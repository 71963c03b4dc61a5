"""Tables of sums are sorted by the address, on the page and in the file."""

import re
from typing import Any

import pytest
from django.test import Client

from billing.models import DailyUsage, EarnedDay, UsageRollup
from portal.accounts import api_keys
from portal.accounts.models import ApiKey
from portal.kit import clock
from tests.billing.shop import Shop, open_shop
from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
MODEL = re.compile(r'<td[^>]*><span class="mono">acme/([\w-]+)</span>')


def use(shop: Shop, *, requests: int, charge: int, output_tokens: int = 0, key: ApiKey | None = None) -> None:
    """What the meter sums up for answered calls of this hour."""
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    sums: dict[str, Any] = {
        "organisation": shop.consumer, "subscription": shop.subscription, "listing": shop.listing,
        "version": shop.version, "shard": 0, "requests": requests, "charge": charge, "output_tokens": output_tokens,
        "api_key": key,
    }  # fmt: skip
    UsageRollup.objects.create(hour=hour, **sums)
    DailyUsage.objects.create(day=hour.replace(hour=0), **sums)
    earned = {name: sums[name] for name in ("listing", "requests", "charge")}
    EarnedDay.objects.create(
        day=hour.replace(hour=0), currency="USD", shard=key.pk.int % 1000 if key else 0, **earned
    )


@pytest.fixture
def shops(cast: Cast) -> dict[str, Shop]:
    """Acme sells two models to the outsider, who calls the cheap one more."""
    mine = cast.outsider.personal_organisation
    shops = {
        slug: open_shop(provider=cast.acme, consumer=mine, slug=slug, monthly_fee=300, components=components)
        for slug, components in {
            "dear": {"output_tokens": (0, 9_000, 1), "input_tokens": (500, None, 1)},
            "cheap": {"output_tokens": (7, 1_000, 1000)},
        }.items()
    }
    use(shops["dear"], requests=2, charge=900, output_tokens=70)
    use(shops["cheap"], requests=80, charge=20, output_tokens=5)
    return shops


@pytest.fixture
def browser(cast: Cast, shops: dict[str, Shop]) -> Client:
    return cast.browser(cast.outsider)


@pytest.mark.parametrize(
    ("sort", "models"),
    [
        ("", ["dear", "cheap"]), ("spend", ["cheap", "dear"]), ("-requests", ["cheap", "dear"]),
        ("-output", ["dear", "cheap"]), ("group", ["cheap", "dear"]), ("nonsense", ["dear", "cheap"]),
    ],
)  # fmt: skip
def test_usage_is_sorted_on_the_page_and_in_the_file(browser: Client, sort: str, models: list[str]) -> None:
    page = browser.get("/console/usage/", {"sort": sort}).content.decode()
    assert MODEL.findall(page) == models
    file = browser.get("/console/usage/", {"sort": sort, "format": "csv"}).content.decode()
    assert [line.split(",")[0] for line in file.splitlines()] == [
        "group",
        *(f"acme/{slug}" for slug in models),
    ]


def test_a_sorted_heading_says_so_and_keeps_the_rest_of_the_address(browser: Client) -> None:
    page = browser.get("/console/usage/?by=model&range=week&sort=-requests").content.decode()
    heading = re.search(r'<th[^>]*aria-sort="descending">(.*?)</th>', page, re.DOTALL)
    assert heading
    assert 'href="?by=model&amp;range=week&amp;sort=requests"' in heading[1]
    assert page.count("aria-sort") == 1
    assert '<input type="hidden" name="range" value="week">' in page


def test_usage_by_key_can_be_searched(cast: Cast, shops: dict[str, Shop], browser: Client) -> None:
    mine = shops["dear"].consumer
    key, _secret = api_keys.issue(mine, by=cast.outsider, name="nightly", scopes=["inference"])
    use(shops["dear"], requests=1, charge=1, key=key)
    whole = browser.get("/console/usage/?by=key").content.decode()
    narrow = browser.get("/console/usage/?by=key&q=night").content.decode()
    table = 'id="usage-groups"'
    assert "Playground" in whole.partition(table)[2]
    assert "nightly" in narrow.partition(table)[2]
    assert "Playground" not in narrow.partition(table)[2]


def test_earnings_are_sorted(cast: Cast, shops: dict[str, Shop]) -> None:
    browser = cast.browser(cast.owner)
    assert MODEL.findall(browser.get("/studio/earnings/").content.decode()) == ["dear", "cheap"]
    page = browser.get("/studio/earnings/?sort=-calls").content.decode()
    assert MODEL.findall(page) == ["cheap", "dear"]
    assert 'aria-sort="descending"' in page
    file = browser.get("/studio/earnings/?sort=-calls&format=csv").content.decode()
    assert [line.split(",")[0] for line in file.splitlines()] == ["listing", "acme/cheap", "acme/dear"]


@pytest.mark.parametrize(
    ("sort", "lines"),
    [
        ("", ["Monthly fee", "Input tokens", "Output tokens"]),
        ("line", ["Input tokens", "Monthly fee", "Output tokens"]),
        ("price", ["Monthly fee", "Output tokens", "Input tokens"]),
        ("-price", ["Output tokens", "Monthly fee", "Input tokens"]),
        ("-included", ["Input tokens", "Monthly fee", "Output tokens"]),
    ],
)
def test_lines_of_the_invoice_are_sorted_within_their_section(
    browser: Client, sort: str, lines: list[str]
) -> None:
    page = browser.get("/console/invoice/", {"sort": sort}).content.decode()
    section = page.partition("acme/dear")[2].partition("<tfoot>")[0]
    assert re.findall(r'<th scope="row">\s*(.*?)\s*</th>', section) == lines
    file = browser.get("/console/invoice/", {"sort": sort, "format": "csv"}).content.decode()
    assert [line.split(",")[4] for line in file.splitlines() if line.startswith("acme/dear")] == lines


def test_the_open_invoice_keeps_its_order_when_it_asks_again(browser: Client) -> None:
    page = browser.get("/console/invoice/?sort=-amount").content.decode()
    assert 'hx-get="/console/invoice/?sort=-amount"' in page
