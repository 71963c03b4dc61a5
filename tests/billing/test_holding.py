"""Earnings of doubtful reports wait for the operator, and the books are exact whatever is decided."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing import earnings, holding, invariants, invoicing, ledger, recording
from billing.errors import AlreadyDecided, ChargeReversed
from billing.events import Event, Rated
from billing.models import HeldEarning, LedgerAccount, UsageEvent
from billing.reversals import reversal_of
from portal.kit import clock, ids
from tests.billing.events import make_event
from tests.billing.shop import Shop, open_shop
from tests.conftest import Cast

pytestmark = pytest.mark.usefixtures("books")
REPORT = {"input": 5, "output": 90_000, "reasoning": 0, "unseen": 0, "cut": False, "held": True}
# Of 3, 15 and 15 units at 7, with a commission of a tenth.
CHARGES = {"sound": 21, "doubtful": 105, "another": 105}
COMMISSION = 23


@pytest.fixture
def shop(settings: Any) -> Shop:
    settings.COMMISSION_BASIS_POINTS = 1000
    shop = open_shop(components={"output_tokens": (0, 7, 1)}, monthly_fee=1000)
    events = [sold(shop, 0, 3), sold(shop, 3, 15, report=REPORT), sold(shop, 18, 15, report=REPORT)]
    recording.record(events, shard=0)
    recording.record(events[1:], shard=1)
    return shop


def sold(shop: Shop, position: int, units: int, **extra: Any) -> Event:
    call = make_event(shop, units={"requests": 1, "output_tokens": units}, charge=7 * units)
    rated = (Rated("output_tokens", position, units, 7 * units),)
    return call._replace(rated=rated, extra={**call.extra, **extra})


def balances(shop: Shop) -> dict[str, int]:
    owners = {
        "receivable": shop.consumer,
        "payable": shop.provider,
        "held": shop.provider,
        "commission": None,
    }
    found = {}
    for kind, owner in owners.items():
        account = LedgerAccount.objects.filter(kind=kind, organisation=owner).first()
        found[kind] = ledger.balance(account) if account else 0
    return found


def test_what_is_held_is_owed_and_not_paid_out(shop: Shop) -> None:
    held = list(HeldEarning.objects.order_by("pk"))
    assert [each.charge for each in held] == [105, 105]
    share = sum(each.share for each in held)
    whole = sum(CHARGES.values()) + 1000
    commission = COMMISSION + 100
    assert balances(shop) == {
        "receivable": whole, "payable": -(whole - commission - share), "held": -share, "commission": -commission,
    }  # fmt: skip
    assert holding.held_of(shop.provider, "USD").amount == share
    assert invariants.check() == []
    (event,) = UsageEvent.objects.filter(pk=held[0].pk)
    assert event.report == REPORT == held[0].report


def test_a_release_owes_the_share_and_a_reversal_takes_the_charge_back(shop: Shop, cast: Cast) -> None:
    first, second = HeldEarning.objects.order_by("pk")
    before = balances(shop)
    holding.release(first.pk, by=cast.operator)
    after = balances(shop)
    assert after["payable"] == before["payable"] - first.share
    assert after["held"] == before["held"] + first.share == -second.share
    holding.reverse(second.pk, by=cast.operator)
    assert balances(shop) == {
        "receivable": before["receivable"] - second.charge, "payable": after["payable"], "held": 0,
        "commission": before["commission"] + second.commission,
    }  # fmt: skip
    for each in (first, second):
        for decide in (holding.release, holding.reverse):
            with pytest.raises(AlreadyDecided):
                decide(each.pk, by=cast.operator)
    assert invariants.check() == []


def test_a_credit_is_on_the_invoice_and_off_the_earnings(shop: Shop, cast: Cast) -> None:
    now = clock.now()
    start = now.replace(minute=0, second=0, microsecond=0)
    for step in ("hour", "day"):
        before = earnings.summary(shop.provider, start, now, step=step)  # type: ignore[arg-type]
        assert before.total.usage.amount == before.steps[0].earned.usage.amount
    held = HeldEarning.objects.order_by("pk").first()
    assert held is not None
    holding.reverse(held.pk, by=cast.operator)
    (section,) = invoicing.draft(shop.consumer, now).sections
    assert (section.lines[-1].meter, section.lines[-1].amount.amount) == (invoicing.CREDIT, -105)
    assert section.total.amount == balances(shop)["receivable"]
    after = earnings.summary(shop.provider, start, clock.now())
    assert after.total.usage.amount == before.total.usage.amount - held.charge
    assert after.total.net == before.total.net - after.total.net.__class__(held.share, "USD")
    assert after.total.net.amount == after.balance.amount + after.held.amount
    (part,) = after.listings
    assert part.earned == after.total


def test_a_free_call_holds_nothing_and_a_cut_one_that_was_written_off_neither(books: None) -> None:
    shop = open_shop()
    recording.record([make_event(shop)._replace(extra={"report": REPORT})], shard=0)
    assert not HeldEarning.objects.exists()
    assert invariants.check() == []


def test_operators_decide_and_others_do_not(shop: Shop, cast: Cast) -> None:
    address = reverse("admin:billing_heldearning_changelist")
    first, second = HeldEarning.objects.order_by("pk")

    def decide(client: Client, action: str, held: HeldEarning) -> None:
        client.post(address, {"action": action, "_selected_action": [str(held.pk)]})
        held.refresh_from_db()

    decide(cast.browser(cast.outsider), "release", first)
    assert first.state == HeldEarning.State.HELD
    page = cast.browser(cast.operator).get(address).content.decode()
    assert "90,000" in page
    decide(cast.browser(cast.operator), "release", first)
    decide(cast.browser(cast.operator), "reverse", second)
    decide(cast.browser(cast.operator), "reverse", first)
    assert [first.state, second.state] == [HeldEarning.State.RELEASED, HeldEarning.State.REVERSED]
    assert second.decided_by == cast.operator


def test_a_call_that_was_reversed_is_credited_once(shop: Shop, cast: Cast) -> None:
    held = HeldEarning.objects.order_by("-pk").first()
    assert held is not None
    back = sold(shop, 33, -15, finish_reason="reversed")
    back = back._replace(
        id=reversal_of(held.pk).hex, outcome="reversed", units={"requests": -1, "output_tokens": -15}
    )
    recording.record([back], shard=0)
    assert invariants.check() == []
    before = balances(shop)
    with pytest.raises(ChargeReversed):
        holding.reverse(held.pk, by=cast.operator)
    holding.release(held.pk, by=cast.operator)
    after = balances(shop)
    assert (after["receivable"], after["commission"]) == (before["receivable"], before["commission"])
    assert after["payable"] == before["payable"] - held.share
    assert invariants.check() == []


def test_a_caller_sees_what_was_reported_and_what_became_of_it(cast: Cast) -> None:
    shop = open_shop(
        components={"output_tokens": (0, 7, 1)},
        consumer=cast.outsider.personal_organisation,
        provider=cast.acme,
    )
    recording.record([sold(shop, 0, 15, report=REPORT)], shard=0)
    held = HeldEarning.objects.get()
    address = f"/console/requests/{ids.public('req', held.pk)}/"
    browser = cast.browser(cast.outsider)
    assert "reported 5 tokens in and 90,000 out" in browser.get(address).content.decode()
    answer = browser.get(f"/api/requests/?listing_id={shop.listing.pk}").json()["results"][0]
    assert answer["report"] == REPORT
    holding.reverse(held.pk, by=cast.operator)
    assert "The operator has credited the charge." in browser.get(address).content.decode()
    assert "Credited calls" in browser.get("/console/invoice/").content.decode()
    earned = cast.browser(cast.owner).get("/api/earnings/").json()
    assert (earned["total"]["net"]["amount"], earned["held"]["amount"], earned["balance"]["amount"]) == (
        0,
        0,
        0,
    )
