"""What becomes of the keys of a member who goes."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Q, QuerySet

from portal.accounts.errors import KeysUndecided
from portal.accounts.models import ApiKey, Membership, Scope, User
from portal.kit import clock, epochs


def working(organisation_id: UUID) -> QuerySet[ApiKey]:
    """The organisation's keys that are neither revoked nor expired."""
    return ApiKey.objects.filter(_working(), organisation_id=organisation_id)


def held(organisation_id: UUID, user_id: UUID) -> QuerySet[ApiKey]:
    """The working keys of the organisation that the user answers for."""
    return working(organisation_id).filter(holder_id=user_id)


def holders(organisation_id: UUID) -> Iterable[UUID]:
    """Who answers for the organisation's working keys, once for each key."""
    return working(organisation_id).values_list("holder_id", flat=True)


def settle(leaving: Membership, *, by: User, heir: User | None, revoke: bool) -> None:
    """Revoke the member's keys, or pass them to `heir`. Keys that manage are revoked all the same: they act as who
    holds them, and their text may still be known to who held them. Raises `KeysUndecided` where neither is said.
    """
    keys = held(leaving.organisation_id, leaving.user_id)
    count = keys.count()
    if count and heir is None and not revoke:
        raise KeysUndecided(who=leaving.user.email, count=count)
    ended = keys.filter(scopes__contains=[Scope.MANAGE]) if heir else keys
    moved = list(keys.values_list("pk", flat=True))
    ended.update(revoked_at=clock.now(), revoked_by=by)
    if heir:
        held(leaving.organisation_id, leaving.user_id).update(holder=heir)
    for key_id in moved:
        epochs.bump("key", key_id)


def _working() -> Q:
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=clock.now()))
