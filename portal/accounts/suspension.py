"""Organisations that the operator has stopped: they can be read, and change nothing; their keys call nothing."""

from typing import Any

from django.conf import settings
from django.db import transaction

from portal.accounts.errors import OrganisationSuspended
from portal.accounts.models import Organisation, User
from portal.kit import clock, epochs
from portal.kit.errors import NotAllowed

ASK = "Ask the operator of this marketplace."
NO_REASON = "no reason was noted."


def suspend(organisation: Organisation, *, by: User, reason: str) -> None:
    """Stop it everywhere at once, calls under way too. A second time changes the reason."""
    _change(organisation, by=by, suspended_at=clock.now(), suspended_by=by, suspended_reason=reason[:240])


def lift(organisation: Organisation, *, by: User) -> None:
    """End a suspension."""
    _change(organisation, by=by, suspended_at=None, suspended_by=None, suspended_reason="")


def refuse(organisation: Organisation) -> None:
    """Raises `OrganisationSuspended`."""
    if organisation.suspended_at is not None:
        raise OrganisationSuspended(
            organisation=organisation.slug, since=f"{organisation.suspended_at:%Y-%m-%d}",
            reason=organisation.suspended_reason or NO_REASON, contact=contact(),
        )  # fmt: skip


def contact() -> str:
    """Whom to ask, in a sentence."""
    return f"Write to {settings.OPERATOR_CONTACT}." if settings.OPERATOR_CONTACT else ASK


def _change(organisation: Organisation, *, by: User, **changes: Any) -> None:
    if not by.is_staff or not by.has_perm("accounts.change_organisation"):
        raise NotAllowed(role="user", action="suspend organisations")
    with transaction.atomic():
        locked = Organisation.objects.select_for_update().get(pk=organisation.pk)
        for name, value in changes.items():
            setattr(locked, name, value)
            setattr(organisation, name, value)
        locked.save(update_fields=list(changes))
        epochs.bump("organisation", organisation.pk)
