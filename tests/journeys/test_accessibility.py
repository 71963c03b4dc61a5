"""Every page, in the light and in the dark, on a telephone and on a desk: axe finds nothing, nothing overflows."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.journeys.browsing import PASSWORD, Visitor, chromium
from tests.journeys.conftest import Market

pytestmark = [pytest.mark.stack, pytest.mark.browser]
OPEN = [
    "/",
    "/status/",
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/no-such-page/",
]
OF_LISTING = ["", "plans/", "api/", "versions/", "performance/"]
CONSOLE = ["", "keys/", "subscriptions/", "usage/", "requests/", "invoice/"]
STUDIO = ["", "new/", "earnings/", "listings/tiny-writer/", "listings/tiny-writer/edit/", "listings/tiny-writer/upload/",
          "listings/tiny-writer/versions/1/", "listings/tiny-writer/plans/new/",
          "listings/tiny-writer/plans/standard/"]  # fmt: skip
ORGANISATION = ["/organisation/", "/organisation/new/"]
SCREENS = [(360, "dark"), (1440, "light"), (2560, "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_visitors_pages_have_no_breach(market: Market, browser: Browser, width: int, scheme: str) -> None:
    visitor = Visitor(
        browser, market.stack.url, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    assert inspect(visitor, [*OPEN, *(f"/listings/{market.text}/{part}" for part in OF_LISTING)]) == {}


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_consumers_pages_have_no_breach(market: Market, browser: Browser, width: int, scheme: str) -> None:
    visitor = Visitor(
        browser, market.stack.url, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    visitor.sign_in(market.consumer.email)
    playgrounds = [f"{market.text}/", f"{market.text}/?mode=completion", f"{market.embedding}/"]
    paths = [
        *(f"/console/{part}" for part in CONSOLE),
        *ORGANISATION,
        *(f"/listings/{part}" for part in playgrounds),
    ]
    assert inspect(visitor, paths) == {}


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_providers_pages_have_no_breach(market: Market, browser: Browser, width: int, scheme: str) -> None:
    visitor = Visitor(
        browser, market.stack.url, viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    visitor.sign_in(market.provider.email)
    assert inspect(visitor, [f"/studio/{part}" for part in STUDIO]) == {}


def test_the_chosen_theme_is_there_before_the_first_paint(market: Market, browser: Browser) -> None:
    visitor = Visitor(browser, market.stack.url, color_scheme="light")
    visitor.page.goto("/")
    visitor.page.get_by_label("Appearance and language").click()
    visitor.page.get_by_role("button", name="Dark").click()
    visitor.page.reload(wait_until="commit")
    visitor.page.wait_for_selector("body")
    assert visitor.page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_pages_work_without_javascript(market: Market, browser: Browser) -> None:
    visitor = Visitor(browser, market.stack.url, java_script_enabled=False)
    visitor.page.goto("/?q=tiny-writer")
    visitor.page.get_by_role("link", name=market.text).click()
    visitor.page.get_by_role("link", name="Plans", exact=True).click()
    assert visitor.page.get_by_role("heading", name="Standard").is_visible()
    visitor.page.goto("/accounts/login/")
    visitor.page.get_by_label("Email").fill(market.consumer.email)
    visitor.page.get_by_label("Password").fill(PASSWORD)
    visitor.page.get_by_role("main").get_by_role("button", name="Sign in").click()
    visitor.page.goto("/console/keys/")
    assert visitor.page.get_by_role("heading", name="API keys").is_visible()


def inspect(visitor: Visitor, paths: list[str]) -> dict[str, list[str]]:
    """The breaches of each page that has any."""
    found = {}
    for path in paths:
        visitor.page.goto(path)
        if breaches := visitor.breaches():
            found[path] = breaches
    return found
