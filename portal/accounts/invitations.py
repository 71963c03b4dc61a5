"""Members come by invitation: whoever proves the invited address accepts, or not. So nobody becomes a member without
wanting to, and inviting an address does not tell whether it has an account here.
"""

from datetime import timedelta
from uuid import UUID

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from portal.accounts import membership, quotas
from portal.accounts.models import Invitation, Membership, Organisation, User
from portal.kit import clock, epochs, ratelimit
from portal.kit.errors import Conflict, NotFound
from portal.kit.ratelimit import Rate

VALID = timedelta(days=14)
# To one address from one organisation.
MAIL = Rate(1, 3600)


def invite(organisation: Organisation, *, by: User, email: str, role: str) -> Invitation:
    """Ask who has this address to become a member; a second time changes the role. A mail goes to them, whether or not
    they have an account. Raises `Conflict` for a member, and `QuotaReached`.
    """
    membership.require(by, organisation, "administer")
    membership.guard_owner_role(organisation, by=by, role=role)
    email = email.lower()
    if organisation.memberships.filter(user__email__iexact=email).exists():
        raise Conflict(reason=f"{email} is a member already; change their role instead.")
    others = organisation.invitations.filter(expires_at__gt=clock.now()).exclude(email=email)
    with transaction.atomic():
        quotas.admit(
            organisation,
            "members",
            by=by,
            what="members",
            count=lambda: organisation.memberships.count() + others.count(),
        )
        facts = {"role": role, "invited_by": by, "expires_at": clock.now() + VALID}
        invitation, _made = Invitation.objects.update_or_create(
            organisation=organisation, email=email, defaults=facts
        )
        transaction.on_commit(lambda: _tell(invitation))
    return invitation


def open_in(organisation: Organisation) -> QuerySet[Invitation]:
    """Those of the organisation that wait for an answer."""
    return organisation.invitations.filter(expires_at__gt=clock.now()).order_by("email")


def open_to(user: User) -> QuerySet[Invitation]:
    """Those that the user may answer: to addresses that they have confirmed as theirs."""
    mine = [
        address.lower()
        for address in EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    ]
    waiting = Invitation.objects.filter(
        email__in=mine, expires_at__gt=clock.now(), organisation__suspended_at=None
    )
    return (
        waiting.exclude(organisation__members=user)
        .select_related("organisation", "invited_by")
        .order_by("-created_at")
    )


def accept(user: User, invitation_id: UUID) -> Membership:
    """Become a member, in the role that was offered. Raises `NotFound`."""
    with transaction.atomic():
        invitation = _find(open_to(user).select_for_update(of=("self",)), invitation_id)
        member = Membership.objects.create(
            organisation=invitation.organisation, user=user, role=invitation.role
        )
        invitation.delete()
        epochs.bump("organisation", invitation.organisation_id)
    return member


def decline(user: User, invitation_id: UUID) -> None:
    """Raises `NotFound`."""
    _find(open_to(user), invitation_id).delete()


def retract(organisation: Organisation, *, by: User, invitation_id: UUID) -> None:
    """Raises `NotFound`."""
    membership.require(by, organisation, "administer")
    _find(open_in(organisation), invitation_id).delete()


def _find(among: QuerySet[Invitation], invitation_id: UUID) -> Invitation:
    invitation = among.filter(pk=invitation_id).first()
    if invitation is None:
        raise NotFound(what="invitation")
    return invitation


def _tell(invitation: Invitation) -> None:
    if ratelimit.take("invitation", f"{invitation.organisation_id} {invitation.email}", MAIL):
        return
    facts = {
        "who": invitation.invited_by.email, "organisation": invitation.organisation.slug,
        "url": f"{settings.PUBLIC_URL}/organisation/invitations/",
    }  # fmt: skip
    text = _(
        "%(who)s invites you to the organisation %(organisation)s. Sign in, or sign up with this address and confirm "
        "it, and answer here: %(url)s"
    )
    send_mail(_("An invitation to %(organisation)s") % facts, text % facts, None, [invitation.email])
