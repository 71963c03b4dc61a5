"""Each call has a page of its own: what it was, how it ended and why, what it used and cost."""

import pytest
from django.test import Client

from billing.models import UsageEvent
from billing.reasons import Reason
from billing.reversals import reversal_of
from marketplace.models import Listing
from portal.accounts import api_keys
from portal.accounts.models import Membership, Role
from portal.dashboard.reasons import TOLD
from tests.conftest import Cast
from tests.portal.dashboard.offers import offer, record_calls

pytestmark = [pytest.mark.usefixtures("clean_redis"), pytest.mark.django_db]
CHINESE = {"accept-language": "zh-CN,zh;q=0.9"}


@pytest.fixture
def listing(cast: Cast) -> Listing:
    return offer(cast, "talker", kind="paid", cents=5)


def call_of(cast: Cast, listing: Listing, **facts: object) -> UsageEvent:
    """A call by the outsider's organisation with a key of theirs."""
    mine = cast.outsider.personal_organisation
    key, _ = api_keys.issue(mine, by=cast.outsider, name="nightly job", scopes=["inference"])
    terms = listing.plans.get().versions.get()
    whose = {"organisation_id": mine.pk, "api_key_id": key.pk, "plan_version_id": terms.pk}
    record_calls(listing, 1, **whose, **facts)
    return UsageEvent.objects.get()


def read(browser: Client, call: UsageEvent, **headers: str) -> str:
    answer = browser.get(f"/console/requests/{call.public_id}/", headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_failed_call_says_why_and_what_to_do_in_the_log_and_on_its_page(
    cast: Cast, listing: Listing
) -> None:
    call = call_of(cast, listing, outcome="failed", finish_reason="failed", reason="worker_lost")
    browser = cast.browser(cast.outsider)
    log = browser.get("/console/requests/").content.decode()
    assert "worker lost</a>" in log
    assert f'href="/console/requests/{call.public_id}/"' in log
    page = read(browser, call)
    assert "The worker that ran the call stopped answering before the end." in page
    assert "It cost nothing." in page
    assert "Try again; nothing has to be changed." in page
    assert "<code>worker_lost</code>" in page
    assert "nightly job" in page
    assert "在回答结束前停止响应" in read(browser, call, **CHINESE)


def test_a_charge_that_was_given_back_is_said_on_both_pages_and_in_the_log(
    cast: Cast, listing: Listing
) -> None:
    call = call_of(
        cast, listing, output_tokens=40, charge=200_000_000, rated={"output_tokens": [0, 40, 200_000_000]}
    )
    back = UsageEvent.objects.get(pk=call.pk)
    back.pk, back.outcome, back.reason = reversal_of(call.pk), "reversed", "reversed"
    back.requests, back.output_tokens, back.input_tokens, back.charge = -1, -40, 0, -200_000_000
    back.rated = {"output_tokens": [40, -40, -200_000_000]}
    back.save(force_insert=True)
    browser = cast.browser(cast.outsider)
    log = browser.get("/console/requests/").content.decode()
    assert "Reversed" in log
    assert "charge given back</a>" in log
    assert "\N{MINUS SIGN}$2.00" in log
    page = read(browser, call)
    assert "The answer reached nobody, so its charge was given back." in page
    assert f'href="/console/requests/{back.public_id}/"' in page
    assert "reached nobody, so what it was charged is given back" in read(browser, back)
    assert "已冲销" in read(browser, back, **CHINESE)


def test_an_answered_call_shows_what_it_used_and_what_each_part_cost(cast: Cast, listing: Listing) -> None:
    call = call_of(
        cast, listing, output_tokens=40, ttft_ms=100, latency_ms=1100, charge=200_000_000, streamed=True,
        rated={"output_tokens": [0, 40, 200_000_000]}, endpoint="chat/completions",
    )  # fmt: skip
    page = read(cast.browser(cast.outsider), call)
    assert "Output tokens" in page
    assert page.count("$2") == 2, "of the meter and in all"
    assert "/v1/chat/completions" in page
    assert "39 tokens/s" in page
    assert "cost nothing" not in page


def test_the_page_of_a_call_is_open_to_all_members_and_to_nobody_else(cast: Cast, listing: Listing) -> None:
    call = call_of(cast, listing)
    address = f"/console/requests/{call.public_id}/"
    assert cast.browser(cast.mate).get(address).status_code == 404, "the provider is no member"
    assert Client().get(address).status_code == 302
    Membership.objects.create(
        organisation=cast.outsider.personal_organisation, user=cast.mate, role=Role.VIEWER
    )
    colleague = cast.browser(cast.mate)
    page = colleague.get(address)
    assert page.status_code == 200, "though they act for another organisation at the moment"
    assert "not for the organisation that you act for now" in page.content.decode()
    assert colleague.get("/console/requests/req_00000000000000000000000000/").status_code == 404
    assert colleague.get("/console/requests/nonsense/").status_code == 404


def test_the_log_as_csv_names_the_reason(cast: Cast, listing: Listing) -> None:
    call_of(cast, listing, outcome="failed", finish_reason="refused")
    rows = cast.browser(cast.outsider).get("/console/requests/?format=csv").content.decode().splitlines()
    assert "Reason" in rows[0].split(",")
    assert "refused" in rows[1].split(",")


def test_every_reason_has_its_words() -> None:
    assert set(TOLD) == set(Reason)
