"""A provider sells a server of their own: published through the API, called with the stock client, billed exactly."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.inference.remote.speaker import KEY, Speaker
from tests.journeys.conftest import DOLLAR, subscribe
from tests.stack import Person, Stack

pytestmark = pytest.mark.stack
PLAN = {
    "slug": "paid",
    "name": "Paid",
    "kind": "paid",
    "terms": {
        "spend_cap": DOLLAR,
        "components": [
            {"meter": "input_tokens", "amount": 1_000, "per": 1},
            {"meter": "output_tokens", "amount": 2_000, "per": 1},
        ],
    },
}
# 7 tokens in and 3 out, as the server reports them.
CHARGE = 13_000


@pytest.fixture(scope="module")
def speaker() -> Iterator[Speaker]:
    server = Speaker().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def listing(stack: Stack, speaker: Speaker) -> str:
    provider = stack.sign_up("far-provider@example.com")
    provider.call("POST", "/api/listings/", json={"slug": "far", "name": "Far", "task": "text-generation"})
    path = f"{provider.organisation}/far"
    wanted = {"base_url": speaker.base_url, "model": "up", "api_key": KEY, "context_length": 1000}
    made = provider.call("POST", f"/api/listings/{path}/endpoints/", json=wanted | {"max_output_tokens": 100})
    version = provider.await_version(path, made["number"])
    assert version["state"] == "ready", version["report"]
    provider.call("POST", f"/api/listings/{path}/plans/", json=PLAN)
    provider.call("PUT", f"/api/listings/{path}/publication/")
    return path


@pytest.fixture(scope="module")
def buyer(stack: Stack, listing: str) -> Person:
    person = stack.sign_up("far-buyer@example.com")
    subscribe(person, listing, "paid")
    return person


def recorded(person: Person, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        found: list[dict[str, Any]] = person.call("GET", "/api/requests/")["results"]
        if len(found) >= count:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} requests are on record, not {count}")


def test_its_callers_need_nothing_but_the_stock_client(buyer: Person, listing: str, speaker: Speaker) -> None:
    client = buyer.client()
    asked = {"model": listing, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == "Hello, world"
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == "Hello, world"
    assert whole.usage.cost_micro == chunks[-1].usage.cost_micro == CHARGE
    charges = [request["charge"]["amount"] for request in recorded(buyer, 2)]
    assert charges == [CHARGE, CHARGE]
    assert {asked.headers["authorization"] for asked in speaker.asked} == {f"Bearer {KEY}"}


def test_its_buyers_never_see_where_it_stands(buyer: Person, listing: str, speaker: Speaker) -> None:
    for path in (
        f"/api/listings/{listing}/versions/1/",
        f"/listings/{listing}/",
        f"/listings/{listing}/versions/",
    ):
        page = buyer.web.get(path)
        assert page.status_code == 200
        assert f":{speaker.port}" not in page.text
        assert KEY not in page.text


def test_neither_the_log_of_the_site_has_the_key(stack: Stack, buyer: Person) -> None:
    assert KEY not in stack.log
