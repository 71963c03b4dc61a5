"""The organisation that a signed-in user acts for in this session."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from portal.accounts.models import Membership, Organisation, User
from portal.kit.errors import NotFound

SESSION_KEY = "organisation"


class CurrentOrganisationMiddleware(MiddlewareMixin):
    """Sets `request.organisation` lazily; None for anonymous visitors and for users without any."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        request.organisation = SimpleLazyObject(lambda: find(request))  # type: ignore[attr-defined]
        return None


def find(request: HttpRequest) -> Organisation | None:
    """The chosen organisation while the user is still its member, else the personal one, else any; a suspended one
    can still be looked at.
    """
    if not isinstance(request.user, User):
        return None
    mine = Organisation.objects.filter(members=request.user).order_by("created_at")
    chosen = request.session.get(SESSION_KEY)
    if chosen and (organisation := mine.filter(slug=chosen).first()):
        return organisation
    return mine.filter(personal_of=request.user).first() or mine.first()


def switch(request: HttpRequest, slug: str) -> None:
    """Act for another organisation from now on. Raises `NotFound` for outsiders."""
    if not Membership.objects.filter(user__id=str(request.user.pk), organisation__slug=slug).exists():
        raise NotFound(what="organisation")
    request.session[SESSION_KEY] = slug


def current_organisation(request: HttpRequest) -> dict[str, Any]:
    """Template context: `organisation` and, for the switcher, `organisations`."""
    if not getattr(request, "user", None) or not request.user.is_authenticated:
        return {"organisation": None, "organisations": []}
    return {
        "organisation": getattr(request, "organisation", None) or None,
        "organisations": Organisation.objects.filter(members=request.user).order_by("name"),
    }
