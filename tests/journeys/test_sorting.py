"""What a reader sorts stays sorted while calls come in: tables that poll, with and without JavaScript; the catalogue."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.journeys.browsing import Visitor, chromium
from tests.journeys.conftest import Market

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def called(market: Market) -> Market:
    """One embedding, and chats that are many and long enough to be measured."""
    client = market.consumer.client()
    client.embeddings.create(model=market.embedding, input="the lazy dog")
    for _ in range(6):
        client.chat.completions.create(
            model=market.text, messages=[{"role": "user", "content": "fox"}], max_tokens=300
        )
    return market


def test_a_live_table_keeps_its_order_and_the_readers_place(called: Market, browser: Browser) -> None:
    visitor = Visitor(browser, called.stack.url)
    visitor.sign_in(called.consumer.email)
    visitor.page.goto("/console/usage/?range=week")
    table = visitor.page.locator("#usage-groups")
    expect(table.get_by_text(called.text)).to_be_visible()
    heading = table.get_by_role("link", name="Requests")
    heading.click()
    expect(table.get_by_role("columnheader", name="Requests")).to_have_attribute("aria-sort", "descending")
    heading.click()
    expect(table.get_by_role("columnheader", name="Requests")).to_have_attribute("aria-sort", "ascending")
    expect(visitor.page).to_have_url(re.compile(r"\?range=week&sort=requests$"))
    expect(heading).to_be_focused()
    before = requests_of(table, called.text)
    ask(called)
    expect(table.get_by_role("row", name=called.text).locator("td").nth(1)).to_have_text(str(before + 1))
    assert first_cells(table).index(called.embedding) < first_cells(table).index(called.text)
    assert visitor.problems == []


def test_a_search_in_a_live_table_outlives_its_polls(called: Market, browser: Browser) -> None:
    visitor = Visitor(browser, called.stack.url)
    visitor.sign_in(called.consumer.email)
    visitor.page.goto("/console/usage/?range=week")
    table = visitor.page.locator("#usage-groups")
    table.get_by_label("Search").press_sequentially("embed", delay=60)
    expect(table.locator("tbody tr")).to_have_count(1)
    with visitor.page.expect_response(re.compile(r"range=week&q=embed$")):
        pass
    expect(table.get_by_label("Search")).to_have_value("embed")
    assert first_cells(table) == [called.embedding]


def test_headings_sort_without_javascript(called: Market, browser: Browser) -> None:
    visitor = Visitor(browser, called.stack.url, java_script_enabled=False)
    visitor.sign_in(called.consumer.email)
    visitor.page.goto("/console/usage/")
    table = visitor.page.locator("#usage-groups")
    table.get_by_role("link", name="Model").click()
    assert first_cells(table) == sorted(first_cells(table))
    visitor.page.goto("/console/invoice/")
    visitor.page.get_by_role("link", name="Amount").first.click()
    expect(visitor.page.get_by_role("columnheader", name="Amount").first).to_have_attribute(
        "aria-sort", "descending"
    )


def test_the_catalogue_shows_and_sorts_by_what_calls_measured(called: Market, browser: Browser) -> None:
    # The schedule does this every minute.
    called.stack.manage("shell", "-c", "from billing.measuring import measure_recent; measure_recent()")
    visitor = Visitor(browser, called.stack.url)
    visitor.page.goto("/")
    visitor.page.get_by_label("Sort by").select_option("Highest throughput")
    visitor.page.wait_for_url(re.compile("sort=throughput"))
    cards = visitor.page.locator(".listing-card")
    expect(cards.filter(has_text="tokens/s").first).to_contain_text(re.compile(r"[\d.,K]+ tokens/s"))
    measured = [index for index, text in enumerate(cards.all_inner_texts()) if "tokens/s" in text]
    assert measured == list(range(len(measured))), "a card without a measurement stands before one with"
    visitor.page.get_by_text("What the states mean").click()
    expect(visitor.page.get_by_text("Loaded on a worker: calls run at once.")).to_be_visible()
    assert visitor.breaches() == []


def ask(market: Market) -> None:
    market.consumer.client().chat.completions.create(
        model=market.text, messages=[{"role": "user", "content": "fox"}], max_tokens=2
    )


def first_cells(table: Locator) -> list[str]:
    return [text.strip() for text in table.locator("tbody td:first-child").all_inner_texts()]


def requests_of(table: Locator, listing: str) -> int:
    return int(table.get_by_role("row", name=listing).locator("td").nth(1).inner_text().replace(",", ""))
