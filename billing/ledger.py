"""The sole writer of the ledger: post, reverse, balance."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, Sum

from billing.errors import AlreadyReversed, KeyReused, Unbalanced
from billing.models import BillingPeriod, LedgerAccount, LedgerEntry, LedgerTransaction
from portal.accounts.models import Organisation
from portal.kit import clock, ids

_POST = """
    INSERT INTO billing_ledgertransaction (id, key, kind, period_id, reason, created_at)
    SELECT id, key, kind, period, '', %s FROM jsonb_to_recordset(%s) AS new (id uuid, key text, kind text, period uuid)
"""
_ENTER = """
    INSERT INTO billing_ledgerentry (transaction_id, account_id, amount)
    SELECT transaction, account, amount
    FROM jsonb_to_recordset(%s) AS new (transaction uuid, account uuid, amount bigint)
"""


def account(kind: LedgerAccount.Kind, *, currency: str, organisation_id: UUID | None = None) -> LedgerAccount:
    """The account, opened on first use."""
    owner = Organisation(pk=organisation_id) if organisation_id else None
    found, _ = LedgerAccount.objects.get_or_create(kind=kind, currency=currency, organisation=owner)
    return found


def post(
    key: str, *, kind: str, entries: Mapping[LedgerAccount, int], period: BillingPeriod | None = None
) -> LedgerTransaction:
    """Record micro-minor units per account; a repeated `key` with the same entries returns the first posting.

    Entries of 0 are left out. Raises `Unbalanced` or, for other entries under the same key, `KeyReused`.
    """
    moving = {to.pk: amount for to, amount in entries.items() if amount}
    _require_balance(key, entries)
    with transaction.atomic():
        posting, is_new = LedgerTransaction.objects.get_or_create(
            key=key, defaults={"kind": kind, "period": period}
        )
        if is_new:
            _write(posting, moving)
    if not is_new and dict(posting.entries.values_list("account", "amount")) != moving:
        raise KeyReused(key=key)
    return posting


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """A transaction to be, by kind and organisation of its accounts; micro-minor units."""

    key: str
    kind: str
    period_id: UUID
    currency: str
    amounts: Mapping[tuple[LedgerAccount.Kind, UUID | None], int]


def post_new(postings: Iterable[Posting]) -> None:
    """Record many transactions whose keys cannot have been used. Raises `Unbalanced` or `IntegrityError`."""
    batch = list(postings)
    for posting in batch:
        if total := sum(posting.amounts.values()):
            raise Unbalanced(key=posting.key, total=total)
    accounts = _open_accounts(batch)
    made = [(ids.uuid7().hex, posting) for posting in batch]
    transactions = [
        {"id": written, "key": posting.key, "kind": posting.kind, "period": posting.period_id.hex}
        for written, posting in made
    ]
    entries = [
        {"transaction": written, "account": accounts[posting.currency, *of].hex, "amount": amount}
        for written, posting in made
        for of, amount in posting.amounts.items()
        if amount
    ]
    # Models for rows that nobody reads would cost a meter more than the rest of its batch's books.
    with connection.cursor() as cursor:
        cursor.execute(_POST, [clock.now(), json.dumps(transactions)])
        cursor.execute(_ENTER, [json.dumps(entries)])


def reverse(posting: LedgerTransaction, *, reason: str) -> LedgerTransaction:
    """Undo a posting by its mirror image. Raises `AlreadyReversed`."""
    with transaction.atomic():
        mirror, is_new = LedgerTransaction.objects.get_or_create(
            key=f"reverse:{posting.pk.hex}",
            defaults={"kind": "reversal", "period": posting.period, "reverses": posting, "reason": reason},
        )
        if not is_new:
            raise AlreadyReversed(key=posting.key)
        _write(mirror, {entry.account_id: -entry.amount for entry in posting.entries.all()})
    return mirror


def balance(of: LedgerAccount) -> int:
    """Debits less credits, in micro-minor units of the account's currency."""
    return of.entries.aggregate(total=Sum("amount"))["total"] or 0


def _open_accounts(postings: Iterable[Posting]) -> dict[tuple[str, str, UUID | None], UUID]:
    wanted = {(posting.currency, str(kind), of) for posting in postings for kind, of in posting.amounts}
    owners = {of for _, _, of in wanted if of}
    theirs = Q(organisation__in=owners) | Q(organisation=None)
    known = LedgerAccount.objects.filter(theirs).values_list("currency", "kind", "organisation_id", "pk")
    found: dict[tuple[str, str, UUID | None], UUID] = {
        (currency, kind, of): pk for currency, kind, of, pk in known
    }
    for currency, kind, of in sorted(wanted - found.keys(), key=repr):
        opened = account(LedgerAccount.Kind(kind), currency=currency, organisation_id=of)
        found[currency, kind, of] = opened.pk
    return found


def _write(posting: LedgerTransaction, amounts: Mapping[UUID, int]) -> None:
    LedgerEntry.objects.bulk_create(
        LedgerEntry(transaction=posting, account_id=to, amount=amount) for to, amount in amounts.items()
    )


def _require_balance(key: str, entries: Mapping[LedgerAccount, int]) -> None:
    totals: dict[str, int] = {}
    for to, amount in entries.items():
        totals[to.currency] = totals.get(to.currency, 0) + amount
    for total in totals.values():
        if total:
            raise Unbalanced(key=key, total=total)
