"""What every answer tells a browser: run nothing that we did not write, keep nothing that is someone's own."""

import re
from pathlib import Path

import pytest
from django.test import Client

from tests.conftest import Cast

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
OPEN_PAGES = ["/", "/accounts/login/", "/accounts/signup/", "/api/docs/", "/nowhere/"]
OWN_PAGES = ["/", "/console/", "/console/keys/", "/console/usage/", "/studio/", "/organisation/", "/nowhere/"]
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:")


def policy(headers: object) -> dict[str, str]:
    """The directives of an answer's content security policy."""
    told = str(headers["Content-Security-Policy"])  # type: ignore[index]
    return {name: " ".join(sources) for name, *sources in (part.split() for part in told.split(";"))}


@pytest.mark.parametrize("path", OPEN_PAGES)
def test_a_page_runs_only_scripts_that_carry_its_nonce(client: Client, path: str) -> None:
    answer = client.get(path)
    directives, page = policy(answer.headers), answer.content.decode()
    (nonce,) = set(re.findall(r'<script nonce="([^"]+)"', page))
    assert directives["script-src"] == f"'nonce-{nonce}'"
    assert page.count("<script") == page.count(f'<script nonce="{nonce}"')
    assert (directives["default-src"], directives["style-src"]) == ("'none'", "'self'")
    assert directives["frame-ancestors"] == directives["base-uri"] == directives["object-src"] == "'none'"
    assert "microphone=()" in answer["Permissions-Policy"]
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert client.get(path).content.decode().count(nonce) == 0, "a nonce was used twice"


@pytest.mark.parametrize("path", OWN_PAGES)
def test_what_somebody_signed_in_sees_is_kept_nowhere(cast: Cast, path: str) -> None:
    answer = cast.browser(cast.owner).get(path)
    assert "no-store" in answer["Cache-Control"]
    assert not INLINE.search(answer.content.decode())


def test_what_everybody_sees_may_be_kept(client: Client) -> None:
    assert "Cache-Control" not in client.get("/").headers


def test_an_answer_to_a_key_is_kept_nowhere(client: Client) -> None:
    answer = client.get("/api/keys/", headers={"Authorization": "Bearer mk_no_such"})
    assert "no-store" in answer["Cache-Control"]


def test_only_the_operators_console_runs_scripts_written_inline(cast: Cast) -> None:
    browser = Client()
    browser.force_login(cast.operator)
    assert "'unsafe-inline'" in policy(browser.get("/admin/").headers)["script-src"]
    assert "unsafe" not in policy(browser.get("/console/").headers)["script-src"]


def test_no_template_writes_scripts_or_styles_inline() -> None:
    # Drawn without anything else when nothing else works; their own policy lets them.
    last_resort = {"500.html", "503.html"}
    for template in TEMPLATES.rglob("*.html"):
        text = template.read_text()
        for script in re.findall(r"<script[^>]*>", text):
            assert 'nonce="{{ request.csp_nonce }}"' in script, template
        assert template.name in last_resort or not INLINE.search(text), template
