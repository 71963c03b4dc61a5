"""Limits of one API key: how fast it may call, and what its calls may cost."""

from dataclasses import asdict, dataclass, fields
from uuid import UUID

from django.conf import settings
from django.db import transaction

from portal.accounts.membership import require
from portal.accounts.models import ApiKey, Organisation, User
from portal.kit import epochs
from portal.kit.errors import Invalid, NotFound
from portal.kit.money import Money

MOST_A_MINUTE, MOST_BUDGET = 2**31 - 1, 10**15
BUDGETS = ("total_budget", "daily_budget", "monthly_budget")
RATES = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """As `ApiKey` keeps them: rates of 0 and budgets of None are none; budgets are micro-minor units."""

    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent_requests: int = 0
    total_budget: int | None = None
    daily_budget: int | None = None
    monthly_budget: int | None = None
    budget_currency: str = settings.CURRENCY

    def columns(self) -> dict[str, int | str | None]:
        """For the model. Raises `Invalid` for what no key can have."""
        found = asdict(self)
        for name in RATES:
            if not 0 <= found[name] <= MOST_A_MINUTE:
                raise Invalid(reason=f"{_words(name)} must be from 0 to {MOST_A_MINUTE}.", param=name)
        for name in BUDGETS:
            if found[name] is not None and not 0 <= found[name] <= MOST_BUDGET:
                most = Money(MOST_BUDGET, self.budget_currency)
                raise Invalid(reason=f"{_words(name)} must be from 0 to {most}.", param=name)
        if len(self.budget_currency) != 3 or not self.budget_currency.isalpha():
            reason = "The budget's currency must be a code of three letters, such as USD."
            raise Invalid(reason=reason, param="budget_currency")
        return found | {"budget_currency": self.budget_currency.upper()}


def of(key: ApiKey) -> KeyLimits:
    """The limits that a key has."""
    return KeyLimits(**{each.name: getattr(key, each.name) for each in fields(KeyLimits)})


def change(organisation: Organisation, *, by: User, key_id: UUID, limits: KeyLimits) -> ApiKey:
    """Set all of a key's limits, from its next call on. Raises `Invalid` and `NotFound`."""
    require(by, organisation, "use")
    columns = limits.columns()
    with transaction.atomic():
        if not ApiKey.objects.filter(organisation=organisation, pk=key_id).update(**columns):
            raise NotFound(what="key")
        epochs.bump("key", key_id)
    return ApiKey.objects.select_related("organisation", "holder").get(pk=key_id)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
