"""Build the demo world, or what is missing of it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop

from inference.demo import calls, keepsake, people, publishing
from inference.demo.gateway import DAYS
from inference.demo.keepsake import Keepsake, write_private
from inference.demo.people import Cast
from inference.demo.products import Product, list_products
from inference.demo.progress import Teller
from inference.training.progress import Cancelled
from marketplace import subscribing
from marketplace.models import Listing, Subscription
from portal.kit import clock


def build(*, say: Callable[[str], None], cancelled: Cancelled) -> None:
    """Everything, and `demo.json` at the end. Raises `DemoIncomplete` or `TrainingCancelled`."""
    products = list_products()
    teller = Teller(total=len(products) + 3, say=say)
    kept = keepsake.load()

    teller.begin(gettext_noop("Introducing a provider, a consumer and an operator"))
    cast = people.gather(kept)
    teller.end_step()

    listings = {}
    for product in products:
        teller.begin(product.making)
        listing = publishing.publish(product, cast=cast, teller=teller, cancelled=cancelled)
        listings[product.role] = listing
        teller.end_step()

    teller.begin(gettext_noop("Subscribing the consumer"))
    for product in products:
        subscribe(cast, listings[product.role], product=product)
    people.hand_key(cast, kept)
    teller.end_step()

    teller.begin(gettext_noop("Calling the models, for some days of use marked as demo"))
    calls.make(listings, buyer=cast.buyer, api_key=kept.api_key, teller=teller, cancelled=cancelled)
    teller.end_step()
    write_demo_file(cast, kept, listings)
    teller.finish()


def subscribe(cast: Cast, listing: Listing, *, product: Product) -> None:
    """The consumer takes the plan that the product names, some days ago, so that past calls have a period."""
    if Subscription.objects.filter(organisation=cast.buyer, listing=listing, ended_at=None).exists():
        return
    plan = listing.plans.get(slug=product.bought)
    began = (clock.now() - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    with transaction.atomic():
        subscription = subscribing.subscribe(cast.buyer, plan, by=cast.consumer)
        Subscription.objects.filter(pk=subscription.pk).update(started_at=began)


def demo_file() -> Path:
    return Path(settings.HOME) / "demo.json"


def write_demo_file(cast: Cast, kept: Keepsake, listings: dict[str, Listing]) -> None:
    """What scripts need to use the demo world. Only this user can read it."""
    users = {
        role: {"email": email, "password": kept.passwords[email]} for role, email in cast.emails().items()
    }
    content = {
        "base_url": settings.PUBLIC_URL,
        "api_key": kept.api_key,
        "users": users,
        "models": {role: listing.path for role, listing in listings.items()},
    }
    write_private(demo_file(), content)
