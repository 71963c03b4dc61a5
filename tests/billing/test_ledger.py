"""The ledger balances, never changes, and posts a key once. The database says it too."""

from collections.abc import Mapping

import pytest
from django.db import DatabaseError, connection, transaction

from billing import ledger
from billing.errors import AlreadyReversed, KeyReused, Unbalanced
from billing.models import LedgerAccount, LedgerEntry, LedgerTransaction, UsageEvent
from portal.accounts.models import Organisation

Kind = LedgerAccount.Kind


@pytest.fixture
def accounts(books: None) -> tuple[LedgerAccount, LedgerAccount]:
    buyer = Organisation.objects.create(slug="buyer", name="Buyer")
    return (
        ledger.account(Kind.RECEIVABLE, currency="USD", organisation_id=buyer.pk),
        ledger.account(Kind.COMMISSION, currency="USD"),
    )


Two = tuple[LedgerAccount, LedgerAccount]


def write(amounts: Mapping[LedgerAccount, int]) -> None:
    """A transaction past the code that checks it."""
    with transaction.atomic():
        posting = LedgerTransaction.objects.create(key="k", kind="usage")
        for account, amount in amounts.items():
            LedgerEntry.objects.create(transaction=posting, account=account, amount=amount)


def test_a_posting_moves_money_between_accounts(accounts: Two) -> None:
    owed, kept = accounts
    ledger.post("k", kind="usage", entries={owed: 70, kept: -70})
    assert (ledger.balance(owed), ledger.balance(kept)) == (70, -70)


def test_a_repeated_key_posts_once(accounts: Two) -> None:
    owed, kept = accounts
    first = ledger.post("k", kind="usage", entries={owed: 70, kept: -70})
    assert ledger.post("k", kind="usage", entries={owed: 70, kept: -70}) == first
    with pytest.raises(KeyReused):
        ledger.post("k", kind="usage", entries={owed: 71, kept: -71})
    assert ledger.balance(owed) == 70


def test_an_unbalanced_posting_is_refused(accounts: Two) -> None:
    with pytest.raises(Unbalanced):
        ledger.post("k", kind="usage", entries={accounts[0]: 70, accounts[1]: -69})


def test_currencies_balance_apart(accounts: Two) -> None:
    euros = ledger.account(Kind.COMMISSION, currency="EUR")
    with pytest.raises(Unbalanced):
        ledger.post("k", kind="usage", entries={accounts[0]: 70, euros: -70})
    with pytest.raises(DatabaseError, match=r"does not sum to zero|is empty"):
        write({accounts[0]: 70, euros: -70})


def test_a_reversal_mirrors_and_comes_once(accounts: Two) -> None:
    owed, kept = accounts
    posting = ledger.post("k", kind="usage", entries={owed: 70, kept: -70})
    mirror = ledger.reverse(posting, reason="refund")
    assert mirror.reverses == posting
    assert ledger.balance(owed) == ledger.balance(kept) == 0
    with pytest.raises(AlreadyReversed):
        ledger.reverse(posting, reason="refund")


@pytest.mark.parametrize("amounts", [(70, -69), (70,), ()])
def test_the_database_refuses_what_does_not_balance(accounts: Two, amounts: tuple[int, ...]) -> None:
    with pytest.raises(DatabaseError, match=r"does not sum to zero|is empty"):
        write(dict(zip(accounts, amounts, strict=False)))
    assert not LedgerTransaction.objects.exists()


def test_the_database_refuses_entries_added_later(accounts: Two) -> None:
    posting = ledger.post("k", kind="usage", entries={accounts[0]: 70, accounts[1]: -70})
    euros = ledger.account(Kind.COMMISSION, currency="EUR")
    with pytest.raises(DatabaseError, match="does not sum to zero"), transaction.atomic():
        LedgerEntry.objects.create(transaction=posting, account=euros, amount=1)


@pytest.mark.parametrize(
    "table", ["billing_ledgerentry", "billing_ledgertransaction", "billing_ledgeraccount"]
)
@pytest.mark.parametrize("change", ["UPDATE {} SET id = id", "DELETE FROM {}"])
def test_the_books_are_append_only(accounts: Two, table: str, change: str) -> None:
    ledger.post("k", kind="usage", entries={accounts[0]: 70, accounts[1]: -70})
    with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
        cursor.execute(change.format(table))


def test_nobody_has_two_accounts_of_a_kind(accounts: Two) -> None:
    with pytest.raises(DatabaseError):
        LedgerAccount.objects.create(kind=Kind.COMMISSION, currency="USD", organisation=None)


def test_facts_are_append_only(books: None) -> None:
    from billing import recording
    from tests.billing.events import make_event

    recording.record([make_event()], shard=0)
    for change in ("UPDATE usage_event SET charge = 0", "DELETE FROM usage_event"):
        with pytest.raises(DatabaseError, match="append-only"), connection.cursor() as cursor:
            cursor.execute(change)
    assert UsageEvent.objects.count() == 1
