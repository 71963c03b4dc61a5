"""May an organisation call a listing, and on which terms?"""

from uuid import UUID

from django.db.models import Q

from marketplace import own_use
from marketplace.errors import ListingTakenDown, ListingWithdrawn, NotSubscribed, VersionNotReady
from marketplace.models import Listing, Subscription, Version
from portal.accounts import suspension
from portal.accounts.models import Organisation


def find(organisation_id: UUID, listing: Listing) -> Subscription:
    """The live subscription, with its plan version and organisation loaded. A listing's own organisation needs none: what
    it has not bought, or others cannot call, is its own use.

    Raises what `refuse_closed` does, `OrganisationSuspended` for the caller's own too, `NotSubscribed` or
    `VersionNotReady`.
    """
    suspension.refuse(Organisation.objects.get(pk=organisation_id))
    is_own = organisation_id == listing.organisation_id
    (refuse_stopped if is_own else refuse_closed)(listing)
    subscription = (
        Subscription.objects.select_related("plan_version__plan", "organisation")
        .filter(organisation_id=organisation_id, listing=listing, ended_at=None, own_use=False)
        .first()
    )
    if is_own and (subscription is None or listing.withdrawn_at is not None):
        return own_use.subscription(listing)
    if subscription is None:
        raise NotSubscribed(listing=listing.path)
    if listing.current_version_id is None:
        raise VersionNotReady(listing=listing.path, version="current")
    return subscription


def find_version(listing: Listing, *, number: int | None = None) -> Version:
    """The version that a call of `owner/slug` or of `owner/slug:number` reaches. Raises `VersionNotReady`."""
    wanted = Q(pk=listing.current_version_id) if number is None else Q(number=number)
    version = listing.versions.filter(wanted, state=Version.State.READY).first()
    if version is None:
        raise VersionNotReady(listing=listing.path, version=number or "current")
    return version


def refuse_closed(listing: Listing) -> None:
    """Raises what `refuse_stopped` does, or `ListingWithdrawn`: no subscriber calls it."""
    refuse_stopped(listing)
    if listing.withdrawn_at is not None:
        raise ListingWithdrawn(listing=listing.path, reason=listing.withdrawn_reason)


def refuse_stopped(listing: Listing) -> None:
    """Raises `ListingTakenDown` or `OrganisationSuspended` (the provider's): nobody calls it."""
    if listing.taken_down_at is not None:
        raise ListingTakenDown(
            listing=listing.path, since=f"{listing.taken_down_at:%Y-%m-%d}", reason=listing.taken_down_reason,
            contact=suspension.contact(),
        )  # fmt: skip
    suspension.refuse(Organisation.objects.get(pk=listing.organisation_id))
