"""A refusal speaks of money as money and of quantities in words, and says where the limit is changed."""

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import translation

from billing.credit import refusals
from billing.credit.facts import CallFacts, RateLimits
from inference.gateway.errors import BodyTooLarge, describe, headers_of
from marketplace.errors import QuotaExceeded
from portal.dashboard import wording
from portal.kit import clock

KEY, SUBSCRIPTION = uuid4(), uuid4()


def facts() -> CallFacts:
    names = ("organisation", "listing", "version", "provider", "plan_version", "period", "lease")
    rates = tuple(
        RateLimits(
            holder=holder,
            holder_id=uuid4(),
            requests_per_minute=2,
            tokens_per_minute=0,
            concurrent_requests=0,
        )
        for holder in ("key", "subscription", "organisation")
    )  # type: ignore[arg-type]
    return CallFacts(
        **{f"{name}_id": uuid4() for name in names}, key_id=KEY, subscription_id=SUBSCRIPTION,
        period_ends=clock.now().timestamp() + 3600, currency="USD", components=(), rates=rates, epochs=(),
        budgets=(),
    )  # fmt: skip


def told(*answer: Any) -> dict[str, Any]:
    error = refusals.read(answer, facts())
    body: dict[str, Any] = describe(error)["error"]
    return body | {"headers": headers_of(error)}


def test_a_spend_cap_is_money() -> None:
    error = told(b"exhausted", b"spend cap", 100_000, 306_000)
    assert error["message"].startswith(
        "This call may cost up to 0.00306 USD, and 0.001 USD are left of the subscription's usage limit in this billing "
        "period. The period ends on "
    )
    assert f"/console/subscriptions/ or PATCH /api/subscriptions/{SUBSCRIPTION}/." in error["message"]
    assert (error["code"], error["type"]) == ("insufficient_quota", "insufficient_quota")
    assert (error["details"]["needed"], error["details"]["left"], error["details"]["currency"]) == (
        306_000,
        100_000,
        "USD",
    )
    assert 3500 < int(error["headers"]["retry-after"]) <= 3600


@pytest.mark.parametrize(
    ("meter", "unit"),
    [
        ("output_tokens", "output tokens"), ("input_tokens", "input tokens"), ("cached_tokens", "cached input tokens"),
        ("requests", "requests"), ("images", "images"), ("compute_ms", "compute milliseconds"),
    ],
)  # fmt: skip
def test_an_allowance_is_a_number_of_things(meter: str, unit: str) -> None:
    error = told(b"exhausted", meter.encode(), 10, 306_000)
    assert error["message"].startswith(
        f"This call needs up to 306,000 {unit}, and 10 are left of those that the plan"
    )
    assert "take another plan: " in error["message"]
    assert error["details"]["needed"] == 306_000


@pytest.mark.parametrize(
    ("scope", "where"),
    [
        (1, f"The limit is set with the key: {refusals._name_key(facts())}."), (2, "take another plan: "),
        (3, "The limit is the operator's to set."),
    ],
)  # fmt: skip
def test_a_rate_says_whose_it_is(scope: int, where: str) -> None:
    error = told(b"limited", scope, b"tokens per minute", 1_000_000, 12_345, 1500)
    assert (
        "limit of 1,000,000 tokens per minute is reached; 12,345 are left. Retry in 1.5 s."
        in error["message"]
    )
    assert where in error["message"]
    assert error["headers"]["retry-after"] == "2"


def test_pages_say_it_in_the_readers_language() -> None:
    error = told(b"exhausted", b"spend cap", 100_000, 306_000)
    retold = {"code": error["code"], "message": error["message"], **error["details"]}
    with translation.override("zh-hans"):
        said = wording.retell(retold)
    assert said.startswith(
        "此次调用最多可能花费 0.00306 USD，而本计费周期内该订阅的用量上限仅剩 0.001 USD。该周期于"
    )
    allowance = told(b"exhausted", b"output_tokens", 10, 306_000)
    with translation.override("zh-hans"):
        said = wording.retell(
            {"code": allowance["code"], "message": allowance["message"], **allowance["details"]}
        )
    assert said.startswith("此次调用最多需要 306,000 输出词元，而本计费周期内套餐所含的量仅剩 10。")


def test_bytes_are_sizes() -> None:
    kept = QuotaExceeded(organisation="Acme", kept=4_200_000_000, size=10**9, limit=5 * 10**9)
    assert str(kept).startswith(
        "Acme keeps 4.2 GB of weights, uploads in progress included. 1 GB more are over its limit of 5 GB."
    )
    assert kept.data["limit"] == 5 * 10**9
    assert (
        str(BodyTooLarge(limit=4 * 2**20))
        == "The request body is larger than the limit of 4.19 MB. Send less in one call."
    )


def test_the_playground_tells_it_with_a_link(client: Client, db: None) -> None:
    error = told(b"exhausted", b"spend cap", 100_000, 306_000)
    del error["headers"]
    retold = client.post(
        "/playground/refusal/", error, "application/json", headers={"accept-language": "zh-hans"}
    )
    assert retold.json()["message"].startswith("此次调用最多可能花费 0.00306 USD")
    assert (retold.json()["url"], retold.json()["action"]) == ("/console/subscriptions/", "更改上限或套餐")
    other = {"code": "model_not_found", "message": "The model `a/b` does not exist.", "param": "model"}
    assert client.post("/playground/refusal/", other, "application/json").json() == {
        "message": other["message"], "url": "", "action": "",
    }  # fmt: skip
    for wrong in ([], {}, {"code": []}, {"code": 1, "message": {}, "details": 5}, "x"):
        assert client.post("/playground/refusal/", wrong, "application/json").status_code == 400, wrong
