"""A provider's own use of its listings: every version, drafts and withdrawn ones too, free of charge.

It is a subscription like any other, so that calls are admitted, held and recorded as any are; it has a plan that nobody
else can take, and is opened when first needed. Its rate limits hold for all listings of the organisation together, so
that publishing gives nobody free serving beyond trying things out.
"""

from uuid import UUID, uuid5

from django.conf import settings
from django.db import IntegrityError, transaction

from marketplace.models import Listing, Plan, PlanVersion, Subscription
from portal.kit import clock, epochs, ids

NAME = "Own use"
MOST_OPENED = 100
_SPACE = UUID("6f6a1c1e-5b1b-4c1e-9d0a-0d6f776e0001")


def subscription(listing: Listing) -> Subscription:
    """The one of the listing's own organisation, with its plan version and organisation loaded."""
    return _find(listing) or _open(listing)


def open_all(organisation_id: UUID) -> None:
    """Those of an organisation's newest listings that have something to call."""
    mine = Listing.objects.filter(organisation_id=organisation_id, current_version__isnull=False)
    missing = mine.exclude(subscriptions__own_use=True).order_by("-id")
    for listing in missing[:MOST_OPENED]:
        _open(listing)


def limits_holder(organisation_id: UUID) -> UUID:
    """In whose name the rate limits of all its own use are counted."""
    return uuid5(_SPACE, organisation_id.hex)


def touch(listing: Listing) -> None:
    """Have calls of its own organisation look up anew on which subscription they run."""
    own = Subscription.objects.filter(listing=listing, own_use=True).values_list("pk", flat=True).first()
    if own is not None:
        epochs.bump("subscription", own)


def _find(listing: Listing) -> Subscription | None:
    own = Subscription.objects.filter(listing=listing, own_use=True)
    return own.select_related("plan_version__plan", "organisation").first()


def _open(listing: Listing) -> Subscription:
    try:
        with transaction.atomic():
            plan = Plan.objects.create(
                listing=listing, slug=f"own-use-{ids.encode(ids.uuid7())}", name=NAME, kind=Plan.Kind.FREE, own_use=True,
                archived_at=clock.now(),
            )  # fmt: skip
            terms = PlanVersion.objects.create(plan=plan, number=1, currency=settings.CURRENCY)
            Subscription.objects.create(
                organisation_id=listing.organisation_id, listing=listing, plan_version=terms, spend_cap=0, own_use=True,
                created_by_id=listing.created_by_id,
            )  # fmt: skip
    except IntegrityError:
        # Another call was faster.
        pass
    opened = _find(listing)
    assert opened is not None
    return opened
