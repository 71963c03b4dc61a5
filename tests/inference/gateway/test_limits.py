"""Limits and budgets as the stock client meets them."""

from typing import Any

import openai
import pytest
from django.test import Client
from django.urls import reverse

from portal.accounts import key_limits
from portal.accounts.key_limits import KeyLimits
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer
from tests.inference.gateway.test_calls import HELLO, Clients, Offers, Workers


def limit(tiny: Offer, **limits: Any) -> None:
    organisation = tiny.buyer.personal_organisation
    key_limits.change(organisation, by=tiny.buyer, key_id=tiny.key.pk, limits=KeyLimits(**limits))


def test_a_keys_limit_holds_in_the_next_call_and_the_tightest_is_told(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer(requests_per_minute=50)
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions
    told = ask.with_raw_response.create(model=tiny.name, messages=HELLO, max_tokens=2).headers
    assert told["x-ratelimit-limit-requests"] == "50"
    limit(tiny, requests_per_minute=1)
    told = ask.with_raw_response.create(model=tiny.name, messages=HELLO, max_tokens=2).headers
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("1", "0")
    with pytest.raises(openai.RateLimitError) as limited:
        ask.create(model=tiny.name, messages=HELLO, max_tokens=2)
    assert limited.value.code == "rate_limit_exceeded"
    assert "The key's limit of 1 requests per minute" in str(limited.value)
    assert 50 <= int(limited.value.response.headers["retry-after"]) <= 60


def test_operators_limit_an_organisation_from_the_next_call_on(
    offer: Offers, client: Clients, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    ask = client(tiny).chat.completions.create
    ask(model=tiny.name, messages=HELLO, max_tokens=2)
    set_limits(cast.browser(cast.operator), tiny, requests_per_minute=1)
    ask(model=tiny.name, messages=HELLO, max_tokens=2)
    with pytest.raises(openai.RateLimitError, match="The organisation's limit of 1 requests per minute"):
        ask(model=tiny.name, messages=HELLO, max_tokens=2)


def set_limits(browser: Client, tiny: Offer, **limits: int) -> None:
    """As the operators' console sends its form."""
    organisation = tiny.buyer.personal_organisation
    typed = {name: getattr(organisation, name) for name in ("slug", "name", "kind")}
    typed |= dict.fromkeys(("tokens_per_minute", "concurrent_requests"), 0)
    typed |= {
        f"{rows}-{count}_FORMS": 0 for rows in ("memberships", "quota") for count in ("TOTAL", "INITIAL")
    }
    page = reverse("admin:accounts_organisation_change", args=[organisation.pk])
    answer = browser.post(page, typed | limits)
    assert answer.status_code == 302, answer.content.decode()


@pytest.mark.parametrize(("budget", "waits"), [("daily_budget", True), ("total_budget", False)])
def test_beyond_a_budget_there_is_no_quota_and_it_says_until_when(
    offer: Offers, client: Clients, worker: Workers, budget: str, waits: bool
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    limit(tiny, **{budget: 50_000})
    ask = client(tiny).chat.completions.create
    with pytest.raises(openai.RateLimitError) as exhausted:
        ask(model=tiny.name, messages=HELLO, max_tokens=100)
    assert (exhausted.value.code, exhausted.value.type) == ("insufficient_quota", "insufficient_quota")
    headers = exhausted.value.response.headers
    assert headers["x-should-retry"] == "false"
    assert ("retry-after" in headers) == waits
    ask(model=tiny.name, messages=HELLO, max_tokens=2)
    limit(tiny, **{budget: 10**9})
    ask(model=tiny.name, messages=HELLO, max_tokens=100)


def test_a_budget_in_another_currency_is_refused_by_name(
    offer: Offers, client: Clients, worker: Workers
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    limit(tiny, total_budget=10**9, budget_currency="EUR")
    with pytest.raises(openai.BadRequestError) as refused:
        client(tiny).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    assert refused.value.code == "budget_currency_mismatch"
