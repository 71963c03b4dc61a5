"""Bring a product into the catalogue as its provider would: files, version, trial, plans, publication."""

import shutil
import time
from pathlib import Path

from django.conf import settings
from django.db import connection

from inference.demo.people import Cast
from inference.demo.products import Product
from inference.demo.progress import Teller
from inference.training.progress import Cancelled, TrainingCancelled
from marketplace import folders, pricing, publishing, subscribing
from marketplace.models import Listing, Plan, Version

TRIAL_SECONDS = 600.0


class DemoIncomplete(Exception):
    """A step could not be done now; the next run tries again."""


def publish(product: Product, *, cast: Cast, teller: Teller, cancelled: Cancelled) -> Listing:
    """The product's published listing, whatever of it was missing. Raises `DemoIncomplete`."""
    listing = _find_listing(product, cast=cast)
    if listing.current_version_id is None:
        version = _find_version(listing) or _add_version(
            product, listing, cast=cast, teller=teller, cancelled=cancelled
        )
        teller.tell("a worker tries it")
        _await_trial(version, cancelled=cancelled)
        listing.refresh_from_db()
    _price(product, listing, cast=cast)
    if not listing.is_live:
        publishing.publish(listing, by=cast.provider)
    if not listing.playground_without_sign_in:
        subscribing.admit_visitors(listing, by=cast.provider)
    return listing


def _find_listing(product: Product, *, cast: Cast) -> Listing:
    found = Listing.objects.filter(organisation=cast.company, slug=product.slug).first()
    return found or publishing.create_listing(
        cast.company, by=cast.provider, slug=product.slug, name=product.name, task=product.task,
        summary=product.summary,
    )  # fmt: skip


def _find_version(listing: Listing) -> Version | None:
    """A version whose trial an earlier run did not see the end of."""
    return listing.versions.filter(state=Version.State.CHECKING).order_by("-number").first()


def _add_version(
    product: Product, listing: Listing, *, cast: Cast, teller: Teller, cancelled: Cancelled
) -> Version:
    directory = Path(settings.HOME) / "demo" / "versions" / product.slug
    building = directory.with_name(f"{product.slug}.building")
    if not directory.exists():
        shutil.rmtree(building, ignore_errors=True)
        # A build may last minutes; an idle connection would only be in the way of those who restart Postgres.
        connection.close()
        product.find_build()(building, progress=teller.follow, cancelled=cancelled)
        building.rename(directory)
    report = folders.examine(directory, task=product.task)
    return folders.release(
        directory, report, listing=listing, by=cast.provider, notes="Made for the demo world."
    )


def _await_trial(version: Version, *, cancelled: Cancelled) -> None:
    deadline = time.monotonic() + TRIAL_SECONDS
    while version.state == Version.State.CHECKING:
        if cancelled():
            raise TrainingCancelled
        if time.monotonic() > deadline:
            raise DemoIncomplete(f"nobody has tried {version.listing.path} yet: is the jobs process running?")
        time.sleep(0.5)
        version.refresh_from_db()
    if version.state == Version.State.REFUSED:
        raise DemoIncomplete(f"{version.listing.path} was refused: {version.report}")


def _price(product: Product, listing: Listing, *, cast: Cast) -> None:
    there = set(Plan.objects.filter(listing=listing).values_list("slug", flat=True))
    for offer in product.offers:
        if offer.slug not in there:
            pricing.create_plan(
                listing, by=cast.provider, kind=offer.kind, name=offer.name, slug=offer.slug, **offer.terms
            )
