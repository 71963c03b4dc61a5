"""What can go wrong with identities."""

from portal.kit.errors import Conflict, NotFound


class SlugTaken(Conflict):
    code = "slug_taken"
    message = "The name {slug} is taken. Choose another."


class LastOwner(Conflict):
    code = "last_owner"
    message = "An organisation needs an owner. Make someone else an owner first."


class NotAMember(NotFound):
    code = "no_such_user"
    message = (
        "No user has confirmed the address {email}. Ask them to sign up and to follow the link in the mail."
    )
