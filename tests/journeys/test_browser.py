"""From sign-up to a priced call, in a real browser, without a line of documentation."""

import re
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Browser, Page, expect

from tests import tiny_models
from tests.journeys.browsing import Visitor, chromium
from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def test_a_provider_publishes_and_a_consumer_subscribes_calls_and_watches(
    stack: Stack, browser: Browser, tmp_path: Path
) -> None:
    provider = Visitor(browser, stack.url)
    provider.sign_up("maker@example.com")
    publish(provider.page, tiny_models.write_llama(tmp_path / "model"))
    assert provider.problems == []

    consumer = Visitor(browser, stack.url)
    consumer.sign_up("taker@example.com")
    find_and_subscribe(consumer.page)
    converse(consumer.page)
    key = make_key(consumer.page)
    generated = watch_a_call_appear(consumer.page, key=key, stack=stack)
    see_the_draft_invoice(consumer.page, output_tokens=24 + generated)
    assert consumer.problems == []

    provider.page.goto("/studio/earnings/")
    expect(provider.page.get_by_role("cell", name="maker/short-writer")).to_be_visible()


def publish(page: Page, directory: Path) -> None:
    """Describe, upload, price, publish: each step is one button on the page before it."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Studio").click()
    page.get_by_role("link", name="Make a listing").click()
    page.get_by_label("Name", exact=True).fill("Short Writer")
    page.get_by_label("Address").fill("short-writer")
    page.get_by_label("Summary").fill("Writes short things quickly.")
    page.get_by_role("button", name="Make the draft").click()

    page.get_by_role("link", name="Upload", exact=True).click()
    page.locator("[data-part=folder]").set_input_files(directory)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile("/versions/1/$"))
    # The page follows the trial run by itself.
    expect(page.get_by_text("Ready", exact=True)).to_be_visible(timeout=60_000)

    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="Short Writer").click()
    page.get_by_role("link", name="Make a plan").click()
    page.get_by_label("Name").fill("Standard")
    page.get_by_label("Monthly fee", exact=True).fill("2.50")
    page.get_by_label("Included output tokens").fill("10")
    page.get_by_label("Price of output tokens").fill("40")
    expect(page.locator("[data-preview-total]")).to_have_text("$42.50")
    page.get_by_role("button", name="Open the plan").click()

    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_text("maker/short-writer is in the catalogue.")).to_be_visible()


def find_and_subscribe(page: Page) -> None:
    """Search as one types; the plans are one click from the page."""
    page.goto("/")
    page.get_by_label("Search models").press_sequentially("short wri", delay=20)
    page.wait_for_url(re.compile("q=short"))
    page.get_by_role("link", name="maker/short-writer").click()
    expect(page.get_by_text("Subscribe to try it")).to_be_visible()
    page.get_by_role("link", name="See the plans").click()
    expect(page.locator("[data-plan-cost]")).not_to_be_empty()
    page.get_by_role("button", name="Subscribe").click()
    expect(page.get_by_text("Subscribed to Standard.")).to_be_visible()


def converse(page: Page) -> None:
    """The playground streams, counts and prices, and shows the call as code."""
    page.get_by_label("max_tokens").fill("24")
    page.get_by_label("Message", exact=True).fill("the quick brown fox")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-part=status]")).to_have_text("Done", timeout=60_000)
    expect(page.locator("[data-role=assistant] .turn-text")).not_to_be_empty()
    expect(page.locator("[data-part=tokens]")).to_have_text(re.compile(r"^\d+ \+ 24$"))
    # 14 of the 24 tokens are beyond the 10 included ones, at $40 a million.
    expect(page.locator("[data-part=cost]")).to_have_text("$0.00056")
    page.get_by_text("View as code").click()
    expect(page.locator("[data-part=code-curl]")).to_contain_text('"max_tokens": 24')


def make_key(page: Page) -> str:
    page.goto("/console/keys/")
    page.get_by_label("Name").fill("journey")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("#secret").inner_text()
    page.goto("/console/keys/")
    expect(page.locator("#secret")).to_have_count(0)
    return secret


def watch_a_call_appear(page: Page, *, key: str, stack: Stack) -> int:
    """The usage page is open while a program calls; it shows the call without a reload. The tokens made."""
    page.goto("/console/usage/")
    requests = page.locator(".tile", has_text="Requests").locator(".tile-value")
    expect(requests).to_have_text("1", timeout=10_000)
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0)
    answer = client.chat.completions.create(
        model="maker/short-writer", messages=[{"role": "user", "content": "fox"}], max_tokens=5
    )
    expect(requests).to_have_text("2", timeout=10_000)
    assert answer.usage
    return answer.usage.completion_tokens


def see_the_draft_invoice(page: Page, *, output_tokens: int) -> None:
    """$2.50 a month, and $0.00004 for each token beyond the 10 included ones."""
    page.goto("/console/invoice/")
    row = page.get_by_role("row", name="Output tokens")
    expect(row.locator("data")).to_have_attribute("value", str((output_tokens - 10) * 4000))
    expect(page.get_by_role("main")).to_contain_text("$2.50")
