"""API keys: `mk_<id>_<secret>`, shown once. The secret has 256 random bits, so a plain SHA-256 suffices."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from portal.accounts.key_limits import KeyLimits
from portal.accounts.membership import require
from portal.accounts.models import ApiKey, Organisation, Scope, User
from portal.kit import clock, epochs, ids
from portal.kit.errors import Invalid, NotAllowed, NotFound


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
        raise Invalid(reason="A key needs a name, such as the app that will use it.")
    if not scopes or not set(scopes) <= set(Scope.values):
        raise Invalid(reason=f"A key needs at least one scope of {', '.join(Scope.values)}.")
    if expires_at is not None and expires_at <= clock.now():
        raise Invalid(reason="The expiry lies in the past.")
    secret = secrets.token_hex(32)
    key = ApiKey.objects.create(
        organisation=organisation, created_by=by, name=name.strip(), scopes=sorted(set(scopes)),
        expires_at=expires_at, secret_hash=_digest(secret), last_four=secret[-4:],
        **(limits or KeyLimits()).columns(),
    )  # fmt: skip
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


def find(text: str) -> ApiKey | None:
    """The live key with this text and its organisation, or None."""
    parsed = parse(text)
    if parsed is None:
        return None
    key = ApiKey.objects.select_related("organisation", "created_by").filter(pk=parsed[0]).first()
    if key is None or not matches(key, parsed[1]) or not key.is_live or key.organisation.suspended_at:
        return None
    return key


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
