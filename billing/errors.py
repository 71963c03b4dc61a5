"""What can go wrong with credit, books and periods."""

from collections.abc import Mapping
from typing import ClassVar

from django.utils.translation import gettext_noop

from portal.kit.errors import Conflict, NotFound, PortalError, Show, as_count, as_money


class NoPeriod(NotFound):
    code = "no_period"
    message = gettext_noop("The subscription {subscription} has no billing period at {at}.")


class AlreadyDecided(Conflict):
    code = "already_decided"
    message = gettext_noop("This has been decided already: {state}.")


class ChargeReversed(Conflict):
    """The reversal took the provider's share from what is owed to it: releasing what is held evens that out."""

    code = "charge_reversed"
    message = gettext_noop(
        "The charge was reversed already, as nobody received the answer. Release what is held."
    )


class StaleFacts(PortalError):
    """What the caller cached is outdated. Load the facts again and retry once."""

    status = 503
    code = "stale_facts"
    message = gettext_noop("The facts of this call have changed: {reason}. Try again.")


class LeaseUnavailable(PortalError):
    """Redis keeps changing under us; nothing was admitted."""

    status = 503
    code = "lease_unavailable"
    message = gettext_noop("The credit of this subscription is being rebuilt. Try again in a moment.")


class RateLimited(PortalError):
    """`what` is whose limit it is: key, subscription or organisation; `scope` is requests or tokens per minute,
    or concurrent requests; `retry_after` in seconds, 0 if only a smaller call helps.
    """

    status = 429
    code = "rate_limit_exceeded"
    message = gettext_noop(
        "The {what}'s limit of {limit} {scope} is reached; {remaining} are left. Retry in {retry_after:.1f} s. {advice}"
    )
    shows: ClassVar[Mapping[str, Show]] = {"limit": as_count, "remaining": as_count}


class AllowanceExhausted(PortalError):
    """What a plan includes of a meter; `left` and `needed` in its units, `resets_at` in unix seconds. `unit` are the
    meter's words, `advice` is a sentence: what to do.
    """

    status = 429
    code = "insufficient_quota"
    message = gettext_noop(
        "This call needs up to {needed} {unit}, and {left} are left of those that the plan includes in this billing "
        "period. {advice}"
    )
    shows: ClassVar[Mapping[str, Show]] = {"needed": as_count, "left": as_count}


class SpendCapReached(AllowanceExhausted):
    """`meter` is "spend cap"; `left` and `needed` in micro-minor units of `currency`."""

    message = gettext_noop(
        "This call may cost up to {needed}, and {left} are left of the subscription's usage limit in this billing "
        "period. {advice}"
    )
    shows = {"needed": as_money, "left": as_money}


class BudgetExhausted(PortalError):
    """Of a key. `window` is total, day or month; `budget`, `left` and `needed` are micro-minor units of `currency`."""

    status = 429
    code = "insufficient_quota"
    message = gettext_noop(
        "This call may cost up to {needed}, and {left} are left of the key's budget of {budget}. Raise the "
        "budget of the key, or use another one. {advice}"
    )
    shows: ClassVar[Mapping[str, Show]] = {"needed": as_money, "left": as_money, "budget": as_money}


class WindowExhausted(BudgetExhausted):
    """`what` is daily or monthly budget; `resets` says when it begins anew, `retry_after` in seconds."""

    message = gettext_noop(
        "This call may cost up to {needed}, and {left} are left of the key's {what} of {budget}. It begins anew "
        "at {resets}; until then raise the budget of the key, or use another one. {advice}"
    )


class BudgetInOtherCurrency(Conflict):
    """Nothing says what a call would take from the budget."""

    code = "budget_currency_mismatch"
    message = gettext_noop(
        "The key {key} has a budget in {budget_currency}, and this plan is priced in {plan_currency}. Use a key "
        "without a budget, or with one in {plan_currency}."
    )


class Unbalanced(Conflict):
    code = "unbalanced"
    message = gettext_noop("The entries of {key} sum to {total}, not to zero.")


class KeyReused(Conflict):
    code = "idempotency_key_reused"
    message = gettext_noop("The key {key} has posted something else already.")


class AlreadyReversed(Conflict):
    code = "already_reversed"
    message = gettext_noop("The transaction {key} has been reversed already.")


class EventUnreadable(PortalError):
    status = 500
    code = "event_unreadable"
    message = gettext_noop("An entry of the usage stream cannot be read: {reason}")


class CursorInvalid(PortalError):
    code = "invalid_cursor"
    message = gettext_noop("The cursor {cursor} is not one of ours. Start again without it.")


class MixedCurrencies(Conflict):
    code = "mixed_currencies"
    message = gettext_noop(
        "The sums of {what} are in several currencies ({currencies}). Ask for a range that has one."
    )
