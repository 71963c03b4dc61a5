"""API keys: `mk_<id>_<secret>`, shown once. The secret has 256 random bits, so a plain SHA-256 suffices."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery

from portal.accounts import key_handover, quotas, suspension
from portal.accounts.errors import KeyHolderGone
from portal.accounts.key_limits import KeyLimits
from portal.accounts.membership import ALLOWED, Action, require
from portal.accounts.models import ApiKey, Membership, Organisation, Scope, User
from portal.kit import clock, epochs, ids, names
from portal.kit.errors import Invalid, NotAllowed, NotFound, PortalError


def issue(
    organisation: Organisation,
    *,
    by: User,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    limits: KeyLimits | None = None,
) -> tuple[ApiKey, str]:
    """A new key and its text, kept nowhere. Raises `Invalid` for no name, odd scopes or limits, or a past expiry."""
    require(by, organisation, "use")
    if Scope.MANAGE in scopes:
        require(by, organisation, "publish")
    if not name.strip():
        raise Invalid(reason="A key needs a name, such as the app that will use it.", param="name")
    names.check(name, what="The name")
    if not scopes or not set(scopes) <= set(Scope.values):
        raise Invalid(reason=f"A key needs at least one scope of {', '.join(Scope.values)}.", param="scopes")
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid(reason="The expiry lies in the past.", param="expires_at")
    secret = secrets.token_hex(32)
    columns = (limits or KeyLimits()).columns()
    key = ApiKey(
        organisation=organisation, created_by=by, holder=by, name=name.strip(), scopes=sorted(set(scopes)),
        expires_at=expires_at, secret_hash=_digest(secret), last_four=secret[-4:],
        **columns,
    )  # fmt: skip
    with transaction.atomic():
        quotas.admit(
            organisation, "keys", by=by, count=key_handover.working(organisation.pk).count, what="keys"
        )
        key.save(force_insert=True)
    return key, f"mk_{ids.encode(key.pk)}_{secret}"


def parse(text: str) -> tuple[UUID, str] | None:
    """The id and secret inside a key's text, or None if it is no key at all."""
    prefix, _, rest = text.partition("_")
    identity, _, secret = rest.partition("_")
    if prefix != "mk" or not secret:
        return None
    try:
        return ids.decode(identity), secret
    except ValueError:
        return None


def matches(key: ApiKey, secret: str) -> bool:
    """Whether the secret is this key's, in constant time."""
    return hmac.compare_digest(_digest(secret), bytes(key.secret_hash))


def find(text: str, *, to: Action = "view") -> ApiKey | None:
    """The live key with this text, with its organisation and holder; None for one that is unknown, revoked or
    expired. Raises, to who has the secret, why a live one may not do the action: see `refuse_dormant`.
    """
    parsed = parse(text)
    if parsed is None:
        return None
    key = ApiKey.objects.select_related("organisation", "holder").filter(pk=parsed[0]).first()
    if key is None or not matches(key, parsed[1]) or not key.is_live:
        return None
    refuse_dormant(key, to=to)
    return key


def refuse_dormant(key: ApiKey, *, to: Action) -> None:
    """A live key works for an organisation that may act, while its holder is an active member whose role allows
    the action. Raises `OrganisationSuspended`, `KeyHolderGone` or `NotAllowed`.
    """
    suspension.refuse(key.organisation)
    role = (
        key.holder_role if hasattr(key, "holder_role") else _roles(key.organisation_id, key.holder_id).first()
    )
    if role is None:
        raise KeyHolderGone
    if to not in ALLOWED[role]:
        raise NotAllowed(role=role, action=to)


def with_holders(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    """The keys with all that tells how they stand, for a list of them."""
    role = Subquery(_roles(OuterRef("organisation"), OuterRef("holder"))[:1])
    return keys.select_related("organisation", "holder").annotate(holder_role=role)


def _roles(organisation: UUID | OuterRef, user: UUID | OuterRef) -> QuerySet[Membership, str]:
    members = Membership.objects.filter(organisation=organisation, user=user, user__is_active=True)
    return members.values_list("role", flat=True)


def find_dormancy(key: ApiKey) -> PortalError | None:
    """Why a key that is neither revoked nor expired calls nothing at present; None if it does."""
    try:
        refuse_dormant(key, to="use")
    except PortalError as refusal:
        return refusal
    return None


def state_of(key: ApiKey) -> Literal["active", "dormant", "expired", "revoked"]:
    """How a key stands. A dormant one works again once its holder may, and its organisation."""
    if key.revoked_at is not None:
        return "revoked"
    if not key.is_live:
        return "expired"
    return "dormant" if find_dormancy(key) else "active"


def revoke(organisation: Organisation, *, by: User, key_id: UUID) -> ApiKey:
    """Stop a key everywhere at once. Repeating it changes nothing."""
    require(by, organisation, "use")
    key = ApiKey.objects.filter(organisation=organisation, pk=key_id).first()
    if key is None:
        raise NotFound(what="key")
    _stop(key, by=by)
    return key


def revoke_as_operator(key: ApiKey, *, by: User) -> None:
    """Stop anybody's key everywhere at once. Raises `NotAllowed` for who may not change keys."""
    if not by.has_perm("accounts.change_apikey"):
        raise NotAllowed(role="user", action="revoke keys of others")
    _stop(key, by=by)


def _stop(key: ApiKey, *, by: User) -> None:
    if key.revoked_at is None:
        key.revoked_at, key.revoked_by = clock.now(), by
        key.save(update_fields=["revoked_at", "revoked_by"])
        epochs.bump("key", key.pk)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
