"""The playgrounds that do not chat: texts continued, vectors compared and pictures classified by real models, in a
real browser.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests import tiny_models
from tests.journeys.browsing import Visitor, chromium
from tests.journeys.conftest import Market, publish, subscribe

pytestmark = [pytest.mark.stack, pytest.mark.browser]
PER_IMAGE = {
    "slug": "pictures",
    "name": "Pictures",
    "kind": "paid",
    "components": [{"meter": "images", "included": 0, "amount": 1_000_000, "per": 1}],
}

PER_TOKEN = {
    "slug": "tokens",
    "name": "Tokens",
    "kind": "paid",
    "components": [{"meter": "output_tokens", "included": 0, "amount": 1_000_000, "per": 1}],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def test_texts_are_compared_by_their_vectors(market: Market, browser: Browser) -> None:
    page = open_playground(market, browser, market.embedding)
    page.get_by_label("Texts to compare").fill("the quick brown fox\nthe lazy dog\nthe quick brown fox")
    run(page)
    cells = page.locator("[data-part=result] tbody td")
    expect(cells).to_have_count(9)
    shown = cells.all_inner_texts()
    assert [shown[row * 3 + row] for row in range(3)] == ["1.000"] * 3
    assert shown[2] == "1.000", "the same text is not the same vector"
    assert float(shown[1]) < 1
    expect(page.locator("[data-part=dimensions]")).to_have_text("32 dimensions")


def test_a_picture_gets_labels_with_scores_and_its_price(
    market: Market, browser: Browser, tmp_path: Path
) -> None:
    model = tiny_models.write_vit(tmp_path / "vit", labels=["cat", "dog", "fox"])
    listing = publish(market.provider, "tiny-eye", "image-classification", model, PER_IMAGE)
    subscribe(market.consumer, listing, "pictures", spend_cap=100_000_000)
    page = open_playground(market, browser, listing)
    page.get_by_label("Choose an image").set_input_files(picture())
    expect(page.locator("[data-part=status]")).to_have_text("Done", timeout=60_000)
    rows = page.locator("[data-part=result] .meterbar")
    expect(rows).to_have_count(3)
    names = [row.split()[0] for row in rows.all_inner_texts()]
    assert sorted(names) == ["cat", "dog", "fox"]
    scores = [float(bar.get_attribute("value") or 0) for bar in rows.locator("progress").all()]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=0.001)
    expect(page.locator("[data-part=cost]")).to_have_text("$0.01")


def test_a_base_model_goes_on_with_a_text_and_with_its_own(
    market: Market, browser: Browser, tmp_path: Path
) -> None:
    listing = publish(
        market.provider,
        "base-writer",
        "text-generation",
        tiny_models.write_base_llama(tmp_path / "base"),
        PER_TOKEN,
    )
    subscribe(market.consumer, listing, "tokens", spend_cap=100_000_000)
    page = open_playground(market, browser, listing)
    expect(page.get_by_text("This model has no chat template")).to_be_visible()
    expect(page.get_by_role("navigation", name="How to try it")).to_have_count(0)
    text = "the quick brown fox\n"
    page.get_by_label("Text to continue").fill(text)
    page.get_by_label("max_tokens").fill("24")
    run(page)
    expect(page.locator("[data-part=tokens]")).to_have_text(re.compile(r"^\d+ \+ 24$"))
    expect(page.locator("[data-part=cost]")).to_have_text("$0.24")
    expect(page.locator("[data-part=result] .given")).to_have_text(text, use_inner_text=False)
    added = page.locator("[data-part=result] .added").text_content()
    assert added
    page.get_by_role("button", name="Continue from here").click()
    # A field of text knows one kind of line break.
    whole = re.sub("\r\n?", "\n", text + added)
    expect(page.get_by_label("Text to continue")).to_have_value(whole)


def test_a_completion_is_shown_as_code_and_can_be_stopped(market: Market, browser: Browser) -> None:
    subscribe(market.consumer, market.slow, "standard")
    page = open_playground(market, browser, market.slow)
    page.get_by_role("navigation", name="How to try it").get_by_role("link", name="Completion").click()
    page.get_by_label("Text to continue").fill("the lazy dog ")
    page.get_by_label("max_tokens").fill("900")
    page.get_by_label("stop", exact=True).fill("never, \\n\\n")
    page.get_by_text("View as code").click()
    curl = page.locator("[data-part=code-curl]")
    expect(curl).to_contain_text("/v1/completions")
    expect(curl).to_contain_text('"prompt": "the lazy dog "')
    expect(curl).to_contain_text(re.compile(r'"stop": \[\s+"never",\s+"\\n\\n"\s+\]'))
    page.get_by_role("tab", name="Python").click()
    expect(page.locator("[data-part=code-python]")).to_contain_text("client.completions.create(")
    expect(page.locator("[data-part=code-python]")).to_contain_text("chunk.choices[0].text")
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-part=result] .added")).not_to_be_empty()
    expect(page.locator("[data-part=cost]")).to_contain_text("$")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("[data-part=status]")).to_have_text("Stopped; what was generated is charged")
    expect(page.get_by_role("button", name="Run")).to_be_visible()


def open_playground(market: Market, browser: Browser, listing: str) -> Page:
    visitor = Visitor(browser, market.stack.url)
    visitor.sign_in(market.consumer.email)
    visitor.page.goto(f"/listings/{listing}/")
    return visitor.page


def run(page: Page) -> None:
    page.get_by_role("button", name="Run").click()
    expect(page.locator("[data-part=status]")).to_have_text(re.compile("Done|Failed"), timeout=60_000)
    expect(page.locator("[data-part=problem-text]")).to_have_text("")


def picture() -> FilePayload:
    """A red square."""
    buffer = io.BytesIO()
    Image.new("RGB", (48, 48), (220, 30, 30)).save(buffer, format="PNG")
    return {"name": "red.png", "mimeType": "image/png", "buffer": buffer.getvalue()}
