"""What callers were told they used is what every later page says, to the token and micro-unit."""

import json
import re
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


def arguments(model: str, index: int) -> dict:
    """A call whose prompt and answer differ in length from its neighbours'."""
    prompt = " ".join(WORDS[: 1 + index % 6]) + f" {index}"
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 4 + index % 29,
        "temperature": 0.8,
    }


def stream(client: openai.OpenAI, model: str, index: int):
    """What the last chunk of a streamed call says that it used."""
    chunks = client.chat.completions.create(
        **arguments(model, index), stream=True, stream_options={"include_usage": True}
    )
    return list(chunks)[-1].usage


def price(inputs: int, outputs: int) -> dict[str, int]:
    """What the plan asks for a period's tokens, by meter."""
    priced = {component["meter"]: component for component in MIXED["components"]}
    return {
        meter: max(0, used - priced[meter]["included"]) * priced[meter]["amount"] // priced[meter]["per"]
        for meter, used in (("input_tokens", inputs), ("output_tokens", outputs))
    }


def page_figures(person: Person) -> dict[str, int]:
    """The tiles of the usage page, as a person reads them; money in micro-minor units."""
    page = person.web.get("/console/usage/").text
    tile = r'tile-label">{}</div><div class="tile-value">{}'
    money = re.search(tile.format("Spend on usage", r'<data [^>]*value="(\d+)"'), page)
    figures = {"charge": int(money[1])}
    for name, label in (
        ("requests", "Requests"),
        ("input_tokens", "Input tokens"),
        ("output_tokens", "Output tokens"),
    ):
        figures[name] = int(re.search(tile.format(label, r"([\d,]+)<"), page)[1].replace(",", ""))
    return figures


def stored_figures(person: Person) -> tuple[dict[str, int], int]:
    """The sums of the organisation's rollups, and what it owes by the ledger."""
    code = f"""
import json
from django.db.models import Sum
from billing.models import LedgerEntry, UsageRollup
theirs = UsageRollup.objects.filter(organisation__slug={person.organisation!r})
names = ("requests", "input_tokens", "output_tokens", "charge")
sums = theirs.aggregate(**{{f"all_{{name}}": Sum(name) for name in names}})
owed = LedgerEntry.objects.filter(account__organisation__slug={person.organisation!r}, account__kind="receivable")
print(json.dumps([{{name: int(sums[f"all_{{name}}"]) for name in names}}, owed.aggregate(all=Sum("amount"))["all"]], default=int))
"""
    rollups, owed = json.loads(person.stack.manage("shell", "--no-imports", "-c", code).splitlines()[-1])
    return rollups, owed


def test_64_streams_are_metered_priced_and_invoiced_exactly(market: Market, buyer: Person) -> None:
    client = buyer.client()
    with ThreadPoolExecutor(64) as pool:
        usages = list(pool.map(lambda index: stream(client, market.text, index), range(64)))

    inputs, outputs = sum(u.prompt_tokens for u in usages), sum(u.completion_tokens for u in usages)
    assert outputs == sum(4 + index % 29 for index in range(64))
    expected = price(inputs, outputs)
    told = {
        "requests": 64,
        "input_tokens": inputs,
        "output_tokens": outputs,
        "charge": sum(usage.cost_micro for usage in usages),
    }
    assert told["charge"] == sum(expected.values())

    totals = await_requests(buyer, 64)
    assert {name: totals[name] for name in told} == told | {"charge": totals["charge"]}
    assert totals["charge"]["amount"] == told["charge"]
    assert page_figures(buyer) == told
    rollups, owed = stored_figures(buyer)
    assert rollups == told

    (section,) = buyer.call("GET", "/api/invoices/draft/")["sections"]
    lines = {line["meter"]: line for line in section["lines"] if line["meter"] != "fee"}
    assert {meter: line["amount"]["amount"] for meter, line in lines.items()} == expected
    assert {meter: line["quantity"] for meter, line in lines.items()} == {
        "input_tokens": inputs,
        "output_tokens": outputs,
    }
    assert section["total"]["amount"] == owed == told["charge"] + MIXED["monthly_fee"]
    assert "invariants hold" in market.stack.manage("check_invariants")


def test_plain_calls_and_streams_add_up_together(market: Market) -> None:
    person = market.stack.sign_up("mixed@example.com")
    subscribe(person, market.text, "standard")
    client = person.client()

    def call(index: int):
        if index % 2:
            return client.chat.completions.create(**arguments(market.text, index)).usage
        return stream(client, market.text, index)

    with ThreadPoolExecutor(12) as pool:
        usages = list(pool.map(call, range(12)))
    totals = await_requests(person, 12)
    assert totals["input_tokens"] == sum(usage.prompt_tokens for usage in usages)
    assert totals["output_tokens"] == sum(usage.completion_tokens for usage in usages)
    assert totals["charge"]["amount"] == sum(usage.cost_micro for usage in usages)


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
    client, waits = buyer.client(), []
    for _ in range(5):
        before = buyer.call("GET", "/api/usage/")["totals"]["requests"]
        client.chat.completions.create(
            model=market.text, messages=[{"role": "user", "content": "x"}], max_tokens=1
        )
        ended = time.monotonic()
        await_requests(buyer, before + 1)
        waits.append(time.monotonic() - ended)
    assert min(waits) < 1, "the best of several: other work on the machine only adds"


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
