"""May an organisation call a listing, and on which terms?"""

from uuid import UUID

from django.db.models import Q

from marketplace.errors import ListingWithdrawn, NotSubscribed, OrganisationSuspended, VersionNotReady
from marketplace.models import Listing, Subscription, Version
from portal.accounts.models import Organisation


def find(organisation_id: UUID, listing: Listing) -> Subscription:
    """The live subscription, with its plan version and organisation loaded.

    Raises `OrganisationSuspended` (the caller's or the provider's), `ListingWithdrawn`, `NotSubscribed`
    or `VersionNotReady`.
    """
    _refuse_suspended(organisation_id, listing)
    if listing.withdrawn_at is not None:
        raise ListingWithdrawn(listing=listing.path, reason=listing.withdrawn_reason)
    subscription = (
        Subscription.objects.select_related("plan_version__plan", "organisation")
        .filter(organisation_id=organisation_id, listing=listing, ended_at=None)
        .first()
    )
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


def _refuse_suspended(organisation_id: UUID, listing: Listing) -> None:
    parties = (organisation_id, listing.organisation_id)
    suspended = Organisation.objects.filter(pk__in=parties).exclude(suspended_at=None).first()
    if suspended is not None:
        raise OrganisationSuspended(organisation=suspended.slug)
