"""What can go wrong with identities."""

from django.utils.translation import gettext_noop

from portal.kit.errors import Conflict, NotFound


class SlugTaken(Conflict):
    code = "slug_taken"
    message = gettext_noop("The name {slug} is taken. Choose another.")


class LastOwner(Conflict):
    code = "last_owner"
    message = gettext_noop("An organisation needs an owner. Make someone else an owner first.")


class NotAMember(NotFound):
    code = "no_such_user"
    message = gettext_noop(
        "No user has confirmed the address {email}. Ask them to sign up and to follow the link in the mail."
    )
