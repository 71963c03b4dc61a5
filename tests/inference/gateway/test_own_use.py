"""Whoever owns a listing tries it without a subscription: drafts, named versions, free, bounded, and nobody else's."""

from datetime import timedelta

import openai
import pytest
from django.conf import LazySettings

from billing import earnings, invoicing, metering
from billing.models import EarnedDay, UsageEvent
from inference.gateway import lookup
from marketplace import own_use, publishing, subscribing
from marketplace.models import Listing, Subscription
from portal.accounts import api_keys
from portal.kit import clock
from tests.conftest import Cast
from tests.inference.gateway.conftest import Offer, await_that
from tests.inference.gateway.test_calls import HELLO, Offers, Workers, usage_events


def key_of(cast: Cast) -> str:
    """A key of acme's, made by its developer."""
    return api_keys.issue(cast.acme, by=cast.mate, name="trial", scopes=["inference"])[1]


def stock(gateway: str, text: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway, api_key=text, max_retries=0, timeout=30)


def unpublish(offer: Offer) -> None:
    """As it was before anybody saw it."""
    Listing.objects.filter(pk=offer.listing.pk).update(published_at=None)


def test_a_draft_is_called_free_of_charge_by_its_own_organisation_alone(
    offer: Offers, gateway: str, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    unpublish(tiny)
    worker(tiny, pieces=["x"])
    own = stock(gateway, key_of(cast))
    for name in (tiny.name, f"{tiny.name}:1"):
        answer = own.chat.completions.create(model=name, messages=HELLO, max_tokens=2)
        assert answer.choices[0].message.content == "x"
        assert answer.usage is not None
        assert answer.usage.cost == 0  # type: ignore[attr-defined]
    outsider = stock(gateway, tiny.key_text)
    for name in (tiny.name, f"{tiny.name}:1"):
        with pytest.raises(openai.NotFoundError):
            outsider.chat.completions.create(model=name, messages=HELLO, max_tokens=2)
    await_that(lambda: len(usage_events()) == 2)
    assert {event[b"o"] for event in usage_events()} == {b"succeeded"}
    assert [model.id for model in own.models.list()] == [tiny.name]
    assert own.models.retrieve(f"{tiny.name}:1").version == 1  # type: ignore[attr-defined]


def test_own_use_is_metered_and_neither_billed_nor_earned(
    offer: Offers, gateway: str, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    stock(gateway, key_of(cast)).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    stock(gateway, tiny.key_text).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    await_that(lambda: len(usage_events()) == 2)
    metering.drain(through=b"+")
    events = {event.organisation_id: event for event in UsageEvent.objects.all()}
    assert events[cast.acme.pk].charge == 0 < events[tiny.buyer.personal_organisation.pk].charge
    assert [day.requests for day in EarnedDay.objects.all()] == [1]
    now = clock.now()
    for step in ("hour", "day"):
        summary = earnings.summary(cast.acme, now - timedelta(hours=3), now + timedelta(hours=1), step=step)  # type: ignore[arg-type]
        assert summary.total.requests == 1
    assert invoicing.draft(cast.acme, now).sections == ()
    shown = cast.browser(cast.owner).get("/console/subscriptions/").content.decode()
    assert "No subscription yet" in shown
    assert "1 subscriber<" in cast.browser(cast.owner).get("/studio/listings/tiny/").content.decode()


def test_own_use_is_bounded_over_all_listings_together(
    offer: Offers, gateway: str, worker: Workers, cast: Cast, settings: LazySettings
) -> None:
    settings.OWN_USE_REQUESTS_PER_MINUTE = 2
    tiny, other = offer(), offer("other")
    worker(tiny, other, pieces=["x"])
    own = stock(gateway, key_of(cast))
    own.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    own.chat.completions.create(model=other.name, messages=HELLO, max_tokens=2)
    for name in (tiny.name, other.name):
        with pytest.raises(openai.RateLimitError):
            own.chat.completions.create(model=name, messages=HELLO, max_tokens=2)
    buyer = stock(gateway, tiny.key_text)
    assert buyer.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2).choices


def test_what_the_operator_stopped_is_nobodys_to_call_and_what_one_withdrew_is_ones_own(
    offer: Offers, gateway: str, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    own = stock(gateway, key_of(cast))
    publishing.withdraw(tiny.listing, by=cast.owner, reason="broken")
    assert own.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2).choices
    with pytest.raises(openai.NotFoundError):
        stock(gateway, tiny.key_text).chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    publishing.take_down(tiny.listing, by=cast.operator, reason="law")
    with pytest.raises(openai.APIStatusError) as refused:
        own.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    assert refused.value.status_code in (403, 404, 410)


def test_a_plan_that_the_provider_takes_itself_is_paid_like_anybodys(
    offer: Offers, gateway: str, worker: Workers, cast: Cast
) -> None:
    tiny = offer()
    worker(tiny, pieces=["x"])
    own = stock(gateway, key_of(cast))
    free = own.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    plan = tiny.subscription.plan_version.plan
    bought = subscribing.subscribe(cast.acme, plan, by=cast.owner, spend_cap=10**12)
    paid = own.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    subscribing.cancel(bought, by=cast.owner)
    again = own.chat.completions.create(model=tiny.name, messages=HELLO, max_tokens=2)
    costs = [answer.usage.cost for answer in (free, paid, again)]  # type: ignore[union-attr]
    assert costs[0] == costs[2] == 0 < costs[1]


def test_who_leaves_the_organisation_leaves_its_own_use(offer: Offers, cast: Cast) -> None:
    tiny = offer()
    unpublish(tiny)
    caller = lookup.Caller(
        digest=b"", key_id=None, organisation_id=cast.acme.pk, listing_id=tiny.listing.pk, user_id=cast.outsider.pk,
        expires_at=0,
    )  # fmt: skip
    with pytest.raises(Exception, match="subscri"):
        lookup.find_route(caller, tiny.name)


def test_two_first_calls_open_one(offer: Offers, cast: Cast) -> None:
    tiny = offer()
    first = own_use.subscription(tiny.listing)
    assert own_use._open(tiny.listing) == first
    assert Subscription.objects.filter(own_use=True).count() == 1
