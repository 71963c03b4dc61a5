"""Who may do what: organisations, members and their roles."""

from typing import Literal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from portal.accounts.errors import LastOwner, NotAMember, SlugTaken
from portal.accounts.models import Membership, Organisation, Role, User
from portal.kit import epochs, ids
from portal.kit.errors import Conflict, NotAllowed, NotFound

Action = Literal["view", "use", "publish", "buy", "bill", "administer"]

ALLOWED: dict[str, frozenset[Action]] = {
    Role.OWNER: frozenset({"view", "use", "publish", "buy", "bill", "administer"}),
    Role.ADMIN: frozenset({"view", "use", "publish", "buy", "bill", "administer"}),
    Role.DEVELOPER: frozenset({"view", "use", "publish"}),
    Role.BILLING: frozenset({"view", "buy", "bill"}),
    Role.VIEWER: frozenset({"view"}),
}


def require(user: User, organisation: Organisation, action: Action) -> Membership:
    """The user's membership, if it allows the action.

    Raises `NotFound` for outsiders, who must not learn what exists, and `NotAllowed` for too narrow a role.
    """
    membership = Membership.objects.filter(user=user, organisation=organisation).first()
    if membership is None:
        raise NotFound(what="organisation")
    if action not in ALLOWED[membership.role]:
        raise NotAllowed(role=membership.role, action=action)
    return membership


def allows(user_id: UUID, organisation_id: UUID, action: Action) -> bool:
    """Whether the user is a member now, with a role that allows the action."""
    found = Membership.objects.filter(
        user__id=user_id, user__is_active=True, organisation__id=organisation_id
    ).first()
    return found is not None and action in ALLOWED[found.role]


def open_personal(user: User) -> Organisation:
    """The user's own organisation, made at sign-up."""
    wish = slugify(user.name or user.email.partition("@")[0])[:48] or "user"
    with transaction.atomic():
        organisation = _create(
            wish, name=user.name or wish, kind=Organisation.Kind.INDIVIDUAL, personal_of=user
        )
        Membership.objects.create(organisation=organisation, user=user, role=Role.OWNER)
    return organisation


def open_organisation(by: User, *, slug: str, name: str, kind: str) -> Organisation:
    """A further organisation with `by` as its owner; addresses are in lower case. Raises `SlugTaken`."""
    slug = slug.lower()
    try:
        with transaction.atomic():
            organisation = Organisation.objects.create(slug=slug, name=name, kind=kind)
            Membership.objects.create(organisation=organisation, user=by, role=Role.OWNER)
    except IntegrityError as conflict:
        raise SlugTaken(slug=slug) from conflict
    return organisation


def add(organisation: Organisation, *, by: User, email: str, role: str) -> Membership:
    """Make an existing user a member. Raises `NotAMember` if nobody has confirmed the address as theirs:
    anyone can sign up under any address, and must not become a member by it.
    """
    require(by, organisation, "administer")
    _guard_owner_role(organisation, by=by, role=role)
    user = User.objects.filter(
        email__iexact=email, emailaddress__email__iexact=email, emailaddress__verified=True
    ).first()
    if user is None:
        raise NotAMember(email=email)
    try:
        with transaction.atomic():
            return Membership.objects.create(organisation=organisation, user=user, role=role)
    except IntegrityError as conflict:
        raise Conflict(reason=f"{email} is a member already; change their role instead.") from conflict


def change_role(organisation: Organisation, *, by: User, membership_id: UUID, role: str) -> Membership:
    """Raises `LastOwner` if the organisation would be left without one."""
    require(by, organisation, "administer")
    _guard_owner_role(organisation, by=by, role=role)
    with transaction.atomic():
        membership = _locked(organisation, membership_id)
        _guard_owner_role(organisation, by=by, role=membership.role)
        if role != Role.OWNER:
            _guard_last_owner(organisation, leaving=membership)
        membership.role = role
        membership.save(update_fields=["role"])
        epochs.bump("organisation", organisation.pk)
    return membership


def remove(organisation: Organisation, *, by: User, membership_id: UUID) -> None:
    """End a membership; anyone may end their own. Raises `LastOwner`."""
    with transaction.atomic():
        membership = _locked(organisation, membership_id)
        if membership.user_id != by.pk:
            require(by, organisation, "administer")
            _guard_owner_role(organisation, by=by, role=membership.role)
        _guard_last_owner(organisation, leaving=membership)
        membership.delete()
        epochs.bump("organisation", organisation.pk)


def _create(slug: str, **fields: object) -> Organisation:
    for attempt in (slug, f"{slug}-{ids.encode(ids.uuid7())[-5:]}"):
        if not Organisation.objects.filter(slug=attempt).exists():
            return Organisation.objects.create(slug=attempt, **fields)
    raise SlugTaken(slug=slug)


def _locked(organisation: Organisation, membership_id: UUID) -> Membership:
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    membership = Membership.objects.filter(organisation=organisation, pk=membership_id).first()
    if membership is None:
        raise NotFound(what="member")
    return membership


def _guard_owner_role(organisation: Organisation, *, by: User, role: str) -> None:
    if role == Role.OWNER and require(by, organisation, "administer").role != Role.OWNER:
        raise NotAllowed(role=Role.ADMIN, action="make, change or remove owners")


def _guard_last_owner(organisation: Organisation, *, leaving: Membership) -> None:
    others = organisation.memberships.filter(role=Role.OWNER).exclude(pk=leaving.pk)
    if leaving.role == Role.OWNER and not others.exists():
        raise LastOwner()
