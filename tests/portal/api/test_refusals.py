"""Below /api everything is JSON of one shape that says what to do, also what is refused before a view."""

from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from django.core.asgi import get_asgi_application
from django.test import Client, override_settings

from portal.kit.bodies import LimitedBodies
from tests.conftest import Cast

NOWHERE = "00000000-0000-0000-0000-000000000000"


def told(answer: Any) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json", answer.content[:300]
    error: dict[str, Any] = answer.json()["error"]
    assert error["message"].endswith((".", "?"))
    return error


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api",
        "/api/nothing/",
        "/api/keys/no-uuid/budgets/",
        "/api/uploads/5/",
        "/api/%ff/",
        "/api/\n",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
def test_an_address_that_leads_nowhere(cast: Cast, method: str, path: str) -> None:
    for client in (Client(), cast.browser(cast.owner)):
        answer = client.generic(method, path)
        assert (answer.status_code, told(answer)["code"]) == (404, "not_found")
        assert "/api/docs/" in told(answer)["message"]


@pytest.mark.parametrize(
    "path", [f"/api/keys/{NOWHERE}/", "/api/keys/no-uuid/", "/api/organisations/nobody/"]
)
def test_a_thing_that_is_not_there(cast: Cast, path: str) -> None:
    answer = cast.browser(cast.owner).get(path)
    assert (answer.status_code, told(answer)["message"]) == (
        404, "There is nothing at this address, or it is not yours to see.",
    )  # fmt: skip


@pytest.mark.parametrize("path", ["/api/keys", "/api//keys", "/api/keys//"])
def test_a_slash_too_many_or_too_few_makes_no_other_request(cast: Cast, path: str) -> None:
    browser = cast.browser(cast.owner)
    made = browser.generic("POST", path, b'{"name": "n", "scopes": ["inference"]}', "application/json")
    assert (made.status_code, "key" in made.json()) == (201, True)
    assert browser.generic("GET", path).json()["results"][0]["name"] == "n"


def test_a_call_without_an_identity_is_told_what_to_send(db: None) -> None:
    answer = Client().get("/api/keys/")
    assert (answer.status_code, told(answer)["code"]) == (401, "not_authenticated")
    assert "Authorization: Bearer" in told(answer)["message"]


def test_a_method_is_refused_with_those_that_there_are(cast: Cast) -> None:
    answer = cast.browser(cast.owner).put("/api/keys/", {}, "application/json")
    assert (answer.status_code, told(answer)["code"]) == (405, "method_not_allowed")
    assert "GET, POST" in told(answer)["message"]


def test_a_session_without_its_token_is_told_how_to_send_it(cast: Cast) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(cast.owner)
    assert told(browser.post("/api/keys/", {}, "application/json"))["code"] == "permission_denied"
    page = browser.post("/organisation/switch/", b"{}", "application/json")
    assert (page.status_code, told(page)["code"]) == (403, "permission_denied")
    assert "X-CSRFToken" in told(page)["message"]


def test_broken_forms_hosts_and_characters(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    broken = browser.generic("POST", "/api/keys/", b"x", "multipart/form-data")
    assert (broken.status_code, told(broken)["code"]) == (400, "bad_request")
    fields = "&".join(f"a{index}=1" for index in range(2000))
    many = browser.generic("POST", "/api/keys/", fields, "application/x-www-form-urlencoded")
    assert (many.status_code, told(many)["code"]) == (400, "bad_request")
    nul = browser.get("/api/keys/", {"cursor": "a\0"})
    assert (nul.status_code, "NUL" in told(nul)["message"]) == (400, True)
    with override_settings(ALLOWED_HOSTS=["here.example"]):
        away = browser.get("/api/keys/", headers={"host": "away.example"})
    assert (away.status_code, told(away)["code"]) == (400, "wrong_host")
    packed = browser.post("/api/keys/", {}, "application/json", headers={"content-encoding": "gzip"})
    assert (packed.status_code, told(packed)["code"]) == (415, "unsupported_content_encoding")
    plain = browser.generic("POST", "/api/keys/", b"x", "text/plain")
    assert (plain.status_code, "application/json" in told(plain)["message"]) == (415, True)


def test_a_failure_of_ours_is_json_too(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = cast.browser(cast.owner)
    browser.raise_request_exception = False

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr("portal.accounts.api.acting_organisation", fail)
    answer = browser.get("/api/keys/")
    assert (answer.status_code, told(answer)["code"]) == (500, "internal_error")
    assert b"secret" not in answer.content


def test_a_program_that_misses_the_data_plane_is_led_to_it(db: None) -> None:
    answer = Client().post("/chat/completions", {"model": "a/b"}, "application/json")
    assert (answer.status_code, "/v1" in told(answer)["message"]) == (404, True)


def test_pages_stay_pages(cast: Cast) -> None:
    browser = cast.browser(cast.owner)
    for path in ("/nothing/", "/console/nothing/", "/apis/"):
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")


@async_to_sync
async def post(path: str, content: bytes) -> httpx.Response:
    bounded: Any = LimitedBodies(get_asgi_application(), most=1000)  # type: ignore[arg-type]
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(bounded), base_url="http://localhost"
    ) as client:
        return await client.post(path, content=content)


def test_a_body_that_is_too_large(db: None) -> None:
    answer = post("/api/keys/", b"x" * 1001)
    assert (answer.status_code, told(answer)["limit"]) == (413, 1000)
    assert post("/somewhere/", b"x" * 1001).headers["content-type"].startswith("text/plain")
