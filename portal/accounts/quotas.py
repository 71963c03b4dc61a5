"""How many things there may be: of a user, of an organisation, and how fast one user makes them.

The operator sets the quotas for all in the settings, and for one organisation or user in the admin; 0 is no limit.
Whatever makes a row asks here, inside its transaction, before it does.
"""

from collections.abc import Callable

from django.conf import settings
from django.utils.translation import gettext_noop

from portal.accounts import suspension
from portal.accounts.models import Organisation, OrganisationQuota, User
from portal.kit import ratelimit
from portal.kit.errors import PortalError
from portal.kit.ratelimit import Rate

HOUR = 3600


class QuotaReached(PortalError):
    """`what` is what there would be too many of; `contact` a sentence: whom to ask."""

    status = 409
    code = "quota_reached"
    message = gettext_noop("{owner} has {count} {what}, and may have {limit}. {contact}")


class TooManyMade(PortalError):
    """`retry_after` in seconds."""

    status = 429
    code = "rate_limit_exceeded"
    message = gettext_noop("You have made {limit} things within an hour. Go on in {minutes} minutes.")


def admit(
    organisation: Organisation, name: str, *, by: User, count: Callable[[], int], what: str, more: int = 1
) -> None:
    """Let one more be made. `count` counts those that are there, once nobody else makes one at the same time; `what`
    names them, as in "listings". Raises `QuotaReached` and `TooManyMade`.
    """
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)
    _refuse_full(organisation.slug, limit_of(organisation, name), count(), what=what, more=more)
    slow_down(by)


def admit_organisation(by: User) -> None:
    """Let the user open one more organisation. Raises as `admit`."""
    user = User.objects.select_for_update(no_key=True).get(pk=by.pk)
    limit = settings.QUOTAS["organisations"] if user.organisation_limit is None else user.organisation_limit
    owned = user.memberships.filter(role="owner").count()
    _refuse_full(user.email, limit, owned, what="organisations", more=1)
    slow_down(by)


def limit_of(organisation: Organisation, name: str) -> int:
    """What the organisation may have, 0 for no limit. `name` is a key of the setting QUOTAS."""
    return _own_limit(organisation, name, settings.QUOTAS[name])


def bytes_limit_of(organisation: Organisation) -> int:
    """How many bytes it may keep, 0 for no limit."""
    return _own_limit(organisation, "stored_bytes", settings.ORGANISATION_QUOTA_BYTES)


def _own_limit(organisation: Organisation, name: str, usual: int) -> int:
    own = OrganisationQuota.objects.filter(organisation=organisation).values_list(name, flat=True).first()
    limit: int = usual if own is None else own
    return limit


def slow_down(by: User) -> None:
    """Raises `TooManyMade` for who makes many things, whatever they are and wherever they belong."""
    limit = settings.QUOTAS["made_per_hour"]
    wait = ratelimit.take("made", str(by.pk), Rate(limit, HOUR))
    if wait:
        raise TooManyMade(limit=limit, minutes=max(1, round(wait / 60)), retry_after=round(wait))


def _refuse_full(owner: str, limit: int, count: int, *, what: str, more: int) -> None:
    if limit and count + more > limit:
        raise QuotaReached(owner=owner, count=count, what=what, limit=limit, contact=suspension.contact())
