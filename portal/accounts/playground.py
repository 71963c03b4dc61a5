"""Passes that let a page of ours call the data plane for one listing, without cookies there."""

from dataclasses import dataclass
from uuid import UUID

from django.core import signing

VALID_SECONDS = 3600
_SALT = "mercato.playground"


@dataclass(frozen=True, slots=True)
class PlaygroundPass:
    """Calls of one listing on account of one organisation."""

    organisation_id: UUID
    listing_id: UUID


def issue(organisation_id: UUID, listing_id: UUID) -> str:
    """`pt_...`, valid for an hour."""
    return "pt_" + signing.dumps([organisation_id.hex, listing_id.hex], salt=_SALT)


def verify(text: str) -> PlaygroundPass | None:
    """The pass behind the text, or None if it is forged, expired or something else."""
    if not text.startswith("pt_"):
        return None
    try:
        organisation, listing = signing.loads(text[3:], salt=_SALT, max_age=VALID_SECONDS)
    except signing.BadSignature:
        return None
    return PlaygroundPass(UUID(organisation), UUID(listing))
