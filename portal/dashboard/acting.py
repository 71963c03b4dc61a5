"""For whom a page acts: the signed-in user's current organisation, if their role allows it."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

from portal.accounts import membership
from portal.accounts.membership import ALLOWED, Action
from portal.accounts.models import Organisation, User
from portal.kit.errors import NotFound


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, for whom, in which role."""

    user: User
    organisation: Organisation
    role: str

    def may(self, action: Action) -> bool:
        """A suspended organisation can be looked at."""
        is_open = action == "view" or self.organisation.suspended_at is None
        return is_open and action in ALLOWED[self.role]


def actor(request: HttpRequest, action: Action = "view") -> Actor:
    """Raises `NotFound` without an organisation and `NotAllowed` if the role is too narrow."""
    user, organisation = request.user, current(request)
    if not isinstance(user, User) or organisation is None:
        raise NotFound(what="organisation")
    return Actor(user, organisation, membership.require(user, organisation, action).role)


def current(request: HttpRequest) -> Organisation | None:
    """The organisation acted for, or None for visitors."""
    organisation: Any = getattr(request, "organisation", None)
    return organisation or None
