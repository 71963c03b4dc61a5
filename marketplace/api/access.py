"""For whom an API request acts, and which listing it may see or change."""

from uuid import UUID

from rest_framework.request import Request

from marketplace import catalogue
from marketplace.models import Listing
from portal.accounts.auth import acting_organisation
from portal.accounts.models import ApiKey, Membership, User
from portal.kit.errors import NotFound


def user_of(request: Request) -> User:
    """The authenticated user; permissions have refused everyone else."""
    assert isinstance(request.user, User)
    return request.user


def is_member(request: Request, listing: Listing) -> bool:
    """Whether the caller acts for the listing's organisation. A key acts for its own alone."""
    return _acts_for(request, listing.organisation.slug) == listing.organisation_id


def visible(request: Request, owner: str, slug: str) -> Listing:
    """A listing to look at. Raises `NotFound` for what is not the caller's to see."""
    viewer = _acts_for(request, owner)
    if viewer is None and isinstance(request.user, User):
        viewer = acting_organisation(request).pk
    return catalogue.find(owner, slug, viewer=viewer)


def managed(request: Request, owner: str, slug: str) -> Listing:
    """A listing to change; the activity checks the role. Raises `NotFound` for outsiders."""
    viewer = _acts_for(request, owner)
    if viewer is None:
        raise NotFound(what="listing")
    return catalogue.find(owner, slug, viewer=viewer)


def _acts_for(request: Request, owner: str) -> UUID | None:
    if not isinstance(request.user, User):
        return None
    memberships = Membership.objects.filter(user=request.user, organisation__slug=owner)
    if isinstance(request.auth, ApiKey):
        memberships = memberships.filter(organisation=request.auth.organisation)
    return memberships.values_list("organisation_id", flat=True).first()
