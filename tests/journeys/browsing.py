"""A real Chromium, and what its console and axe say of every page it shows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
FETCHED = ROOT / ".venv" / "chromium" / "chromium"
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PASSWORD = "a long enough phrase 42"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's Chromium, or the one that `make test` fetched. A machine without one skips its tests."""
    if (program := find_chromium()) is None:
        assert not os.environ.get("CI"), "no Chromium: CI runs the browser tests too"
        pytest.skip("no Chromium here: `make chromium` says why (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


def find_chromium() -> str | None:
    """CHROMIUM, one on the path, or that of `deploy/chromium.sh`."""
    names = ("chromium", "chromium-browser", "google-chrome")
    on_path = next(filter(None, map(shutil.which, names)), None)
    return os.environ.get("CHROMIUM") or on_path or (str(FETCHED) if FETCHED.exists() else None)


# A name that the sprite does not hold draws nothing, and nobody complains.
MISSING_ICONS = """async () => {
    const sprites = {}, missing = new Set();
    for (const use of document.querySelectorAll("svg use")) {
        const [url, name] = use.getAttribute("href").split("#");
        sprites[url] ??= await (await fetch(url)).text();
        if (!sprites[url].includes(`id="${name}"`)) missing.add(name);
    }
    return [...missing];
}"""


# Controls that look as the browser draws them by itself, open or in a closed menu. Those of the page's own tell by
# their border or their arrow.
RAW_CONTROLS = """() => [
    ...[...document.querySelectorAll("button")].filter(each => getComputedStyle(each).borderTopStyle === "outset"),
    ...[...document.querySelectorAll("select")].filter(each => getComputedStyle(each).appearance !== "none"),
    ...[...document.querySelectorAll("input:not([type]), input[type=text], input[type=number], input[type=search]")]
        .filter(each => getComputedStyle(each).borderTopStyle === "inset"),
    ...[...document.querySelectorAll("input[type=file]:not(.visually-hidden)")]
        .filter(each => getComputedStyle(each, "::file-selector-button").borderTopStyle === "outset"),
].map(each => each.outerHTML.slice(0, 120))"""
# What lies beside a table's box and can only be reached by moving it sideways.
CUT_TABLES = """() => innerWidth > 600 ? [] : [...document.querySelectorAll(".table-wrap")]
    .filter(each => each.scrollWidth > each.clientWidth + 1 && !each.querySelector(".matrix"))
    .map(each => each.getAttribute("aria-label"))"""


class Visitor:
    """One person's window. `problems` collects what the console complained about."""

    def __init__(self, browser: Browser, base_url: str, **options: Any) -> None:
        self.problems: list[str] = []
        self.context = browser.new_context(base_url=base_url, **options)
        # Two cores may be shared with a whole stack and other tests.
        self.context.set_default_timeout(90_000)
        expect.set_options(timeout=20_000)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def sign_up(self, email: str) -> None:
        self.page.goto("/accounts/signup/")
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Make the account").click()
        self.page.wait_for_url("**/accounts/login/")
        self.sign_in(email)

    def sign_in(self, email: str) -> None:
        self.page.goto("/accounts/login/")
        self.page.get_by_label("Email").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("main").get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/")

    def breaches(self) -> list[str]:
        """What axe finds against the page as it stands, icons that are not there, what its policy forbids, sideways scrolling."""
        # From its top: below, the fixed bar covers a part of whatever scrolls beneath it.
        self.page.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("(rules) => axe.run({ runOnly: rules })", RULES)["violations"]
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        told = [f"{rule['id']}: {rule['nodes'][0]['html'][:160]}" for rule in found]
        told += [f"no icon {name}" for name in self.page.evaluate(MISSING_ICONS)]
        told += [problem for problem in self.problems if "Content Security Policy" in problem]
        told += [f"raw control {html}" for html in self.page.evaluate(RAW_CONTROLS)]
        told += [f"cut table {name}" for name in self.page.evaluate(CUT_TABLES)]
        return [*told, f"{wide} pixels too wide"] if wide > 0 else told

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)
