"""Passes that let a page of ours call the data plane for one listing, without cookies there."""

from dataclasses import dataclass
from uuid import UUID

from django.core import signing
from django.utils.crypto import salted_hmac

VALID_SECONDS = 3600
_SALT = "mercato.playground"


@dataclass(frozen=True, slots=True)
class PlaygroundPass:
    """Calls of one listing on account of one organisation, by one of its members or by visitors (no user)."""

    organisation_id: UUID
    listing_id: UUID
    user_id: UUID | None
    visitor: str


def issue(organisation_id: UUID, listing_id: UUID, *, user_id: UUID | None, visitor: str = "") -> str:
    """`pt_...`, valid for an hour, while the user may make calls for the organisation. Without a user, `visitor` says
    on whose quota: the address that the page was sent to, which leaves us as a hash alone.
    """
    facts = [organisation_id.hex, listing_id.hex, user_id and user_id.hex, _digest(visitor)]
    return "pt_" + signing.dumps(facts, salt=_SALT)


def verify(text: str) -> PlaygroundPass | None:
    """The pass behind the text, or None if it is forged, expired or something else."""
    if not text.startswith("pt_"):
        return None
    try:
        facts = signing.loads(text[3:], salt=_SALT, max_age=VALID_SECONDS)
    except signing.BadSignature:
        return None
    # One of the release before this has no visitor, for an hour yet.
    organisation, listing, user, visitor = (*facts, "")[:4]
    return PlaygroundPass(UUID(organisation), UUID(listing), UUID(user) if user else None, visitor)


def _digest(visitor: str) -> str:
    return salted_hmac(_SALT, visitor, algorithm="sha256").hexdigest()[:16]
