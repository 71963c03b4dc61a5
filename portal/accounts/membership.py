"""Who may do what: organisations, members and their roles."""

from typing import Literal
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.text import slugify

from portal.accounts import key_handover, quotas, suspension
from portal.accounts.errors import LastOwner, SlugTaken
from portal.accounts.models import Membership, Organisation, Role, User
from portal.kit import epochs, ids, names, slugs
from portal.kit.errors import NotAllowed, NotFound
from portal.kit.slugs import SlugReserved

Action = Literal["view", "use", "publish", "buy", "bill", "administer"]

# "revoke", the id of the membership that takes keys over, or undecided.
KeyFate = Literal["revoke"] | UUID | None

ALLOWED: dict[str, frozenset[Action]] = {
    Role.OWNER: frozenset({"view", "use", "publish", "buy", "bill", "administer"}),
    Role.ADMIN: frozenset({"view", "use", "publish", "buy", "bill", "administer"}),
    Role.DEVELOPER: frozenset({"view", "use", "publish"}),
    Role.BILLING: frozenset({"view", "buy", "bill"}),
    Role.VIEWER: frozenset({"view"}),
}


def require(user: User, organisation: Organisation, action: Action) -> Membership:
    """The active user's membership, if it allows the action. Every door asks here.

    Raises `NotFound` for outsiders, who must not learn what exists, `NotAllowed` for too narrow a role, and
    `OrganisationSuspended` for whatever is more than to look.
    """
    active = Membership.objects.select_related("organisation").filter(user__is_active=True)
    membership = active.filter(user=user, organisation=organisation).first()
    if membership is None:
        raise NotFound(what="organisation")
    if action not in ALLOWED[membership.role]:
        raise NotAllowed(role=membership.role, action=action)
    if action != "view":
        suspension.refuse(membership.organisation)
    return membership


def allows(user_id: UUID, organisation_id: UUID, action: Action) -> bool:
    """Whether the user is a member now, with a role that allows the action, of an organisation that may act."""
    found = Membership.objects.filter(
        user__id=user_id,
        user__is_active=True,
        organisation__id=organisation_id,
        organisation__suspended_at=None,
    ).first()
    return found is not None and action in ALLOWED[found.role]


def open_personal(user: User) -> Organisation:
    """The user's own organisation, made at sign-up."""
    wish = slugify(user.name or user.email.partition("@")[0])[:48].strip("-_") or "member"
    if slugs.is_reserved(wish):
        # A word that misleads would do so in a longer name too.
        wish = f"member-{ids.encode(user.pk)[-5:]}"
    with transaction.atomic():
        organisation = _create(
            wish, name=user.name or wish, kind=Organisation.Kind.INDIVIDUAL, personal_of=user
        )
        Membership.objects.create(organisation=organisation, user=user, role=Role.OWNER)
    return organisation


def open_organisation(
    by: User, *, slug: str, name: str, kind: str = Organisation.Kind.COMPANY, is_ours: bool = False
) -> Organisation:
    """A further organisation with `by` as its owner; addresses are in lower case. Raises `SlugTaken`, also for what
    looks like another's, `Invalid` for a name that misleads, and `SlugReserved` unless it is the marketplace's own.
    """
    slug = slug.lower()
    names.check(name, what="The name")
    if not slugs.skeleton(slug) or (slugs.is_reserved(slug) and not is_ours):
        raise SlugReserved(slug=slug)
    try:
        with transaction.atomic():
            if not is_ours:
                quotas.admit_organisation(by)
            organisation = Organisation.objects.create(slug=slug, name=name, kind=kind)
            Membership.objects.create(organisation=organisation, user=by, role=Role.OWNER)
    except IntegrityError as conflict:
        raise SlugTaken(slug=slug) from conflict
    return organisation


def change_role(organisation: Organisation, *, by: User, membership_id: UUID, role: str) -> Membership:
    """Raises `LastOwner` if the organisation would be left without one."""
    require(by, organisation, "administer")
    guard_owner_role(organisation, by=by, role=role)
    with transaction.atomic():
        membership = _locked(organisation, membership_id)
        guard_owner_role(organisation, by=by, role=membership.role)
        if role != Role.OWNER:
            _guard_last_owner(organisation, leaving=membership)
        membership.role = role
        membership.save(update_fields=["role"])
        epochs.bump("organisation", organisation.pk)
    return membership


def remove(organisation: Organisation, *, by: User, membership_id: UUID, keys: KeyFate = None) -> None:
    """End a membership; anyone may end their own. `keys` says what becomes of those that the member holds: they are
    revoked, or pass to another membership. Raises `LastOwner`, or `KeysUndecided` where that is left open.
    """
    with transaction.atomic():
        membership = _locked(organisation, membership_id)
        if membership.user_id != by.pk:
            require(by, organisation, "administer")
            guard_owner_role(organisation, by=by, role=membership.role)
        suspension.refuse(organisation)
        _guard_last_owner(organisation, leaving=membership)
        heir = _find_heir(organisation, keys, by=by, leaving=membership) if isinstance(keys, UUID) else None
        key_handover.settle(membership, by=by, heir=heir, revoke=keys == "revoke")
        membership.delete()
        epochs.bump("organisation", organisation.pk)


def _find_heir(organisation: Organisation, membership_id: UUID, *, by: User, leaving: Membership) -> User:
    """Who takes keys over: of a role that may use them, and no wider than the role of who decides."""
    require(by, organisation, "administer")
    heir = (
        organisation.memberships.filter(pk=membership_id, user__is_active=True).exclude(pk=leaving.pk).first()
    )
    if heir is None:
        raise NotFound(what="member")
    if "use" not in ALLOWED[heir.role]:
        raise NotAllowed(role=heir.role, action="use")
    guard_owner_role(organisation, by=by, role=heir.role)
    return heir.user


def set_active(user: User, *, active: bool) -> None:
    """Let an account in, or keep it out, of every door at once: sessions, keys, passes, and the calls under way."""
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(is_active=active)
        for organisation_id in Membership.objects.filter(user=user).values_list("organisation_id", flat=True):
            epochs.bump("organisation", organisation_id)
    user.is_active = active


def _create(slug: str, **fields: object) -> Organisation:
    for attempt in (slug, f"{slug}-{ids.encode(ids.uuid7())[-5:]}"):
        look = slugs.skeleton(attempt)
        is_taken = Organisation.objects.filter(Q(slug=attempt) | Q(skeleton=look)).exists()
        if look and not is_taken and not slugs.is_reserved(attempt):
            return Organisation.objects.create(slug=attempt, **fields)
    raise SlugTaken(slug=slug)


def _locked(organisation: Organisation, membership_id: UUID) -> Membership:
    organisation.suspended_at = Organisation.objects.select_for_update().get(pk=organisation.pk).suspended_at
    membership = Membership.objects.filter(organisation=organisation, pk=membership_id).first()
    if membership is None:
        raise NotFound(what="member")
    return membership


def guard_owner_role(organisation: Organisation, *, by: User, role: str) -> None:
    """Raises `NotAllowed` for who would make, change or remove an owner and is none."""
    if role == Role.OWNER and require(by, organisation, "administer").role != Role.OWNER:
        raise NotAllowed(role=Role.ADMIN, action="make, change or remove owners")


def _guard_last_owner(organisation: Organisation, *, leaving: Membership) -> None:
    others = organisation.memberships.filter(role=Role.OWNER).exclude(pk=leaving.pk)
    if leaving.role == Role.OWNER and not others.exists():
        raise LastOwner()
