"""The flat fee is on the ledger from the moment its period opens, once, split to the unit."""

import threading
from datetime import timedelta

import pytest
from django.db import connection

from billing import earnings, invariants, invoicing, ledger, periods, recording
from billing.events import Rated
from billing.models import BillingPeriod, LedgerAccount, LedgerTransaction
from portal.accounts.models import Organisation
from portal.kit import clock
from tests.billing.events import make_event
from tests.billing.shop import Shop, open_shop

Kind = LedgerAccount.Kind
# A tenth of it, the commission, is no whole number.
FEE = 123_456_789


@pytest.fixture
def shop(books: None) -> Shop:
    return open_shop(components={"output_tokens": (0, 3, 1)}, monthly_fee=FEE)


def use(shop: Shop) -> None:
    """One call of 35 output tokens."""
    units = {"requests": 1, "output_tokens": 35}
    rated = (Rated("output_tokens", 0, 35, 105),)
    recording.record([make_event(shop, units=units, charge=105, rated=rated)], shard=0)


def balance(kind: Kind, owner: Organisation | None) -> int:
    return ledger.balance(LedgerAccount.objects.get(kind=kind, organisation=owner))


def test_opening_a_period_charges_its_fee(shop: Shop) -> None:
    period = periods.current(shop.subscription, clock.now())
    assert balance(Kind.RECEIVABLE, shop.consumer) == FEE
    assert balance(Kind.PAYABLE, shop.provider) == -111_111_111
    assert balance(Kind.COMMISSION, None) == -12_345_678
    assert LedgerTransaction.objects.get().key == f"fee:{period.pk.hex}"


def test_a_plan_without_a_fee_posts_nothing(books: None) -> None:
    periods.current(open_shop().subscription, clock.now())
    assert not LedgerTransaction.objects.exists()


def test_a_burst_of_first_calls_charges_the_fee_once(shop: Shop) -> None:
    def first_call() -> None:
        periods.current(shop.subscription, clock.now())
        connection.close()

    threads = [threading.Thread(target=first_call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert balance(Kind.RECEIVABLE, shop.consumer) == FEE


def test_a_period_whose_fee_cannot_be_posted_does_not_open(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(ledger, "post_new", fail)
    with pytest.raises(ConnectionError):
        periods.current(shop.subscription, clock.now())
    assert not BillingPeriod.objects.exists()


def test_every_month_has_its_own_fee(shop: Shop) -> None:
    for _ in range(2):
        periods.current(shop.subscription, clock.now())
        periods.current(shop.subscription, clock.now() + timedelta(days=40))
    assert balance(Kind.RECEIVABLE, shop.consumer) == 2 * FEE


def test_the_draft_invoice_is_what_the_ledger_says_the_consumer_owes(shop: Shop) -> None:
    use(shop)
    draft = invoicing.draft(shop.consumer, clock.now())
    assert [line.amount.amount for line in draft.sections[0].lines] == [FEE, 105]
    assert draft.total.amount == balance(Kind.RECEIVABLE, shop.consumer) == FEE + 105
    assert invariants.check() == []


def test_earnings_show_fees_beside_usage(shop: Shop) -> None:
    use(shop)
    idle = open_shop(monthly_fee=1000, provider=shop.provider, slug="idle")
    periods.current(idle.subscription, clock.now())
    hour = clock.now().replace(minute=0, second=0, microsecond=0)
    summary = earnings.summary(shop.provider, hour, clock.now())
    total = summary.total
    assert (total.requests, total.usage.amount, total.fees.amount) == (1, 105, FEE + 1000)
    assert total.gross.amount == FEE + 1000 + 105
    assert total.commission.amount == 12_345_678 + 100 + 10
    assert total.net == summary.balance
    found = [(part.listing, part.earned.usage.amount, part.earned.fees.amount) for part in summary.listings]
    assert found == [(shop.listing.path, 105, FEE), (idle.listing.path, 0, 1000)]
    (point,) = earnings.series(shop.provider, hour, clock.now(), step="hour")
    assert (point.at, point.earned) == (hour, total)
    assert not earnings.series(shop.provider, hour - timedelta(days=9), hour, step="day")
    assert not earnings.summary(shop.consumer, hour, clock.now()).listings


def test_a_fee_that_is_not_on_the_ledger_is_a_breach(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "post_new", lambda _: None)
    periods.current(shop.subscription, clock.now())
    (violation,) = invariants.check()
    assert f"fee {FEE}" in violation.what
