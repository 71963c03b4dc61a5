"""Plans: what a listing costs. A published plan version never changes; revising makes the next one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max

from marketplace import figures
from marketplace.errors import PlanInvalid, PlanSlugTaken
from marketplace.models import Listing, Meter, Plan, PlanVersion, PriceComponent, Task
from portal.accounts import membership, quotas
from portal.accounts.models import User
from portal.kit import clock, epochs, money, names
from portal.kit.figures import exact_text

# Far above any price or volume, and low enough that cumulative charges stay within 64 bits.
MOST = 10**15
# What a new subscription to a priced plan may spend a month unless its buyer or the plan says otherwise.
DEFAULT_SPEND_CAP_MAJOR = 100

_ALWAYS = frozenset({Meter.REQUESTS, Meter.COMPUTE_MS})
METERS: Mapping[str, frozenset[Meter]] = {
    Task.TEXT_GENERATION: _ALWAYS | {Meter.INPUT_TOKENS, Meter.OUTPUT_TOKENS, Meter.CACHED_TOKENS},
    Task.FEATURE_EXTRACTION: _ALWAYS | {Meter.INPUT_TOKENS},
    Task.TEXT_CLASSIFICATION: _ALWAYS | {Meter.INPUT_TOKENS},
    Task.IMAGE_CLASSIFICATION: _ALWAYS | {Meter.IMAGES},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A price: `included` units a period are free, the rest cost `amount` micro-minor units per `per` units.

    `amount` None: calls stop when the included units are used up.
    """

    meter: str
    included: int = 0
    amount: int | None = None
    per: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that a plan version says. Money in micro-minor units; a limit of 0 is none.

    `spend_cap` is the most that a new subscription lets its usage cost in a period; None takes the
    default: nothing where nothing is priced.
    """

    monthly_fee: int = 0
    components: Sequence[Component] = ()
    spend_cap: int | None = None
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    concurrent_requests: int = 0

    @property
    def has_price(self) -> bool:
        return any(component.amount for component in self.components)


class TermsFields(TypedDict, total=False):
    """The fields of `Terms`, as keywords."""

    monthly_fee: int
    components: Sequence[Component]
    spend_cap: int | None
    requests_per_minute: int
    tokens_per_minute: int
    concurrent_requests: int


def create_plan(
    listing: Listing, *, by: User, kind: str, name: str, slug: str, **fields: Unpack[TermsFields]
) -> Plan:
    """A new plan with its first version, on the `Terms` in `fields`. Raises `PlanInvalid` or `PlanSlugTaken`."""
    membership.require(by, listing.organisation, "publish")
    names.check(name, what="The name")
    terms = Terms(**fields)
    check(terms, kind=kind, task=listing.task)
    try:
        with transaction.atomic():
            quotas.admit(listing.organisation, "plans", by=by, count=listing.plans.count, what="plans")
            plan = Plan.objects.create(listing=listing, kind=kind, name=name, slug=slug)
            _add_version(plan, number=1, terms=terms)
    except IntegrityError as conflict:
        raise PlanSlugTaken(listing=listing.path, slug=slug) from conflict
    figures.refresh(listing.pk)
    epochs.bump("listing", listing.pk)
    return plan


def revise_plan(plan: Plan, *, by: User, **fields: Unpack[TermsFields]) -> PlanVersion:
    """The plan's next version, for new subscribers; those there are keep theirs. Raises `PlanInvalid`."""
    membership.require(by, plan.listing.organisation, "publish")
    terms = Terms(**fields)
    check(terms, kind=plan.kind, task=plan.listing.task)
    with transaction.atomic():
        Plan.objects.select_for_update().get(pk=plan.pk)
        quotas.slow_down(by)
        latest = plan.versions.aggregate(number=Max("number"))["number"] or 0
        version = _add_version(plan, number=latest + 1, terms=terms)
        figures.refresh(plan.listing_id)
    return version


def archive_plan(plan: Plan, *, by: User) -> None:
    """Take no new subscribers; those there are stay."""
    membership.require(by, plan.listing.organisation, "publish")
    Plan.objects.filter(pk=plan.pk, archived_at=None).update(archived_at=clock.now())
    figures.refresh(plan.listing_id)
    plan.refresh_from_db(fields=["archived_at"])


def latest_version(plan: Plan) -> PlanVersion:
    """The version that a new subscription gets."""
    return plan.versions.order_by("-number")[:1].get()


def check(terms: Terms, *, kind: str, task: str) -> None:
    """Raises `PlanInvalid` unless the terms are sound and of their kind.

    Free: no fee and no price. Paid: a fee or a price, nothing included. Mixed: something included and a
    fee or a price.
    """
    if kind not in Plan.Kind.values:
        raise PlanInvalid(reason=f"A plan is free, paid or mixed, not {kind!r}.", param="kind")
    _check_numbers(terms)
    meters = [component.meter for component in terms.components]
    if twice := {meter for meter in meters if meters.count(meter) > 1}:
        raise PlanInvalid(reason=f"{_name(min(twice))} is priced twice.", param="components")
    for component in terms.components:
        _check_component(component, task=task)
    _check_kind(terms, kind=kind)


def _check_numbers(terms: Terms) -> None:
    for name in (
        "monthly_fee",
        "spend_cap",
        "requests_per_minute",
        "tokens_per_minute",
        "concurrent_requests",
    ):
        value = getattr(terms, name)
        is_money = name in ("monthly_fee", "spend_cap")
        most = MOST if is_money else 2**31 - 1
        if value is not None and not 0 <= value <= most:
            shown = exact_text(money.Money(most, settings.CURRENCY)) if is_money else f"{most:,}"
            what = name.replace("_", " ").capitalize()
            raise PlanInvalid(reason=f"{what} must be from 0 to {shown}.", param=name)


def _check_component(component: Component, *, task: str) -> None:
    meter = component.meter
    if meter not in METERS[task]:
        counted = ", ".join(map(_name, sorted(METERS[task])))
        reason = f"A {task} model never counts {_name(meter)}. It counts {counted}."
        raise PlanInvalid(reason=reason, param="components")
    if not 0 <= component.included <= MOST or not 1 <= component.per <= MOST:
        reason = f"{_name(meter)}: included must be from 0, per from 1, both to {MOST}."
        raise PlanInvalid(reason=reason, param="components")
    if component.amount is not None and not 0 <= component.amount <= MOST:
        raise PlanInvalid(
            reason=f"{_name(meter)}: the amount must be from 0 to {exact_text(money.Money(MOST, settings.CURRENCY))}.",
            param="components",
        )
    if component.amount is None and not component.included:
        raise PlanInvalid(
            reason=f"{_name(meter)} has neither a price nor included units, so no call could ever run.",
            param="components",
        )


def _name(meter: str) -> str:
    return Meter(meter).label if meter in Meter.values else meter


def _check_kind(terms: Terms, *, kind: str) -> None:
    charges = bool(terms.monthly_fee) or terms.has_price
    includes = any(component.included for component in terms.components)
    if kind == Plan.Kind.FREE and charges:
        reason = "A free plan has no fee and no price. Make it a paid or mixed one."
        raise PlanInvalid(reason=reason, param="components")
    if kind == Plan.Kind.PAID and (includes or not charges):
        raise PlanInvalid(
            reason="A paid plan has a fee or a price and includes nothing. Make it a mixed one.",
            param="components",
        )
    if kind == Plan.Kind.MIXED and not (includes and charges):
        reason = "A mixed plan includes some units, and has a fee or a price besides."
        raise PlanInvalid(reason=reason, param="components")


def _add_version(plan: Plan, *, number: int, terms: Terms) -> PlanVersion:
    version = PlanVersion.objects.create(
        plan=plan,
        number=number,
        currency=settings.CURRENCY,
        monthly_fee=terms.monthly_fee,
        spend_cap=_spend_cap(terms),
        requests_per_minute=terms.requests_per_minute,
        tokens_per_minute=terms.tokens_per_minute,
        concurrent_requests=terms.concurrent_requests,
    )
    PriceComponent.objects.bulk_create(
        PriceComponent(
            plan_version=version,
            meter=component.meter,
            included=component.included,
            amount=component.amount,
            per=component.per,
        )
        for component in terms.components
    )
    return version


def _spend_cap(terms: Terms) -> int:
    if terms.spend_cap is not None:
        return terms.spend_cap
    if not terms.has_price:
        return 0
    return money.from_major(str(DEFAULT_SPEND_CAP_MAJOR), settings.CURRENCY).amount
