"""Earnings held back: the operator releases them to the provider, or credits the charge to the consumer."""

from uuid import UUID

from django.db import transaction
from django.db.models import F, Sum

from billing import ledger
from billing.errors import AlreadyDecided, ChargeReversed
from billing.models import HeldEarning, LedgerAccount, UsageEvent
from billing.reversals import reversal_of
from portal.accounts.models import Organisation, User
from portal.kit import clock
from portal.kit.money import Money

_KINDS = LedgerAccount.Kind
State = HeldEarning.State


def release(held_id: UUID, *, by: User) -> HeldEarning:
    """Owe the provider its share. Raises `AlreadyDecided`."""
    return _decide(held_id, State.RELEASED, by=by)


def reverse(held_id: UUID, *, by: User) -> HeldEarning:
    """Take the call's charge back from all three: its consumer owes nothing for it. Raises `AlreadyDecided`.

    Allowances and budgets that the call used up stay so. Raises `ChargeReversed` where the call itself was reversed.
    """
    if UsageEvent.objects.filter(pk=reversal_of(held_id)).exists():
        raise ChargeReversed
    return _decide(held_id, State.REVERSED, by=by)


def held_of(provider: Organisation, currency: str) -> Money:
    """The provider's share of what nobody has decided on."""
    waiting = HeldEarning.objects.filter(provider=provider, currency=currency, state=State.HELD)
    return Money(waiting.aggregate(total=Sum(F("charge") - F("commission")))["total"] or 0, currency)


def _decide(held_id: UUID, state: State, *, by: User) -> HeldEarning:
    with transaction.atomic():
        held = HeldEarning.objects.select_for_update(no_key=True).get(pk=held_id)
        if held.state != State.HELD:
            raise AlreadyDecided(state=held.get_state_display().lower())
        held.state, held.decided_at, held.decided_by = state, clock.now(), by
        held.save(update_fields=["state", "decided_at", "decided_by"])
        _post(held)
    return held


def _post(held: HeldEarning) -> None:
    """Entries of 0 are none; without any there is nothing to post."""
    amounts: dict[tuple[LedgerAccount.Kind, UUID | None], int]
    if held.state == State.RELEASED:
        amounts = {
            (_KINDS.HELD, held.provider_id): held.share,
            (_KINDS.PAYABLE, held.provider_id): -held.share,
        }
    else:
        amounts = {
            (_KINDS.HELD, held.provider_id): held.share,
            (_KINDS.COMMISSION, None): held.commission,
            (_KINDS.RECEIVABLE, held.organisation_id): -held.charge,
        }
    entries = {
        ledger.account(kind, currency=held.currency, organisation_id=of): amount
        for (kind, of), amount in amounts.items()
        if amount
    }
    if entries:
        ledger.post(f"held:{held.pk.hex}", kind=held.state, entries=entries, period=held.period)
