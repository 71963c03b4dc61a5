"""What can go wrong with identities."""

from django.utils.translation import gettext_noop

from portal.kit.errors import Conflict, NotAllowed, PortalError


class SlugTaken(Conflict):
    code = "slug_taken"
    message = gettext_noop("The name {slug}, or one that looks like it, is taken. Choose another.")


class LastOwner(Conflict):
    code = "last_owner"
    message = gettext_noop("An organisation needs an owner. Make someone else an owner first.")


class OrganisationSuspended(NotAllowed):
    """`contact` is a sentence: whom to ask."""

    code = "organisation_suspended"
    message = gettext_noop(
        "The operator of this marketplace suspended the organisation {organisation} on {since}: {reason} {contact}"
    )


class KeyHolderGone(PortalError):
    status = 401
    code = "invalid_api_key"
    message = gettext_noop(
        "The holder of this API key is no active member of its organisation any more. Use another key, or ask an "
        "owner or admin."
    )


class KeysUndecided(Conflict):
    """A member who holds keys is to go. `count` of them still work."""

    code = "keys_undecided"
    message = gettext_noop(
        "{who} holds {count} working API keys of this organisation. Say whether they are to be revoked, or which "
        "member takes them over."
    )
