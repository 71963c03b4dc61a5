"""What identification asks Postgres. Blocking: called on threads."""

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.db.models import Q

from billing.credit import facts as credit_facts
from billing.credit.facts import CallFacts
from inference.gateway.errors import KeyLacksScope, ModelNotFound, ServiceUnavailable
from inference.gateway.prompting import TokenizerFacts
from inference.remote.upstream import EndpointFacts
from marketplace import endpoints, entitlement, weights
from marketplace.errors import NotSubscribed
from marketplace.models import Listing, Subscription, Task, Version
from portal.accounts import api_keys, membership, playground
from portal.accounts.models import ApiKey, Scope
from portal.kit import epochs
from portal.kit.errors import PortalError
from portal.kit.secrets import Unreadable

log = logging.getLogger(__name__)

TOKENIZER_FILES = frozenset(
    {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    }
)
# What happens to a text before it is tokenised, for embeddings alone.
SENTENCE_FILES = frozenset({"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"})
_TEXT_TASKS = frozenset({Task.TEXT_GENERATION, Task.FEATURE_EXTRACTION, Task.TEXT_CLASSIFICATION})
# A pass says itself when it ends; it is verified again this often.
_PASS_SECONDS = 60.0
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """`digest` is the SHA-256 of the key's text, `expires_at` unix seconds. A playground pass has no key
    id and is good for one listing.
    """

    digest: bytes
    key_id: UUID | None
    organisation_id: UUID
    listing_id: UUID | None
    user_id: UUID | None
    expires_at: float
    # Of who calls without an account: whose quota it is.
    visitor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A version that a caller may call, and the terms. `directory` holds its tokenizer, for tasks of text;
    a remote version has an `endpoint` instead.
    """

    caller: Caller
    facts: CallFacts
    model: str
    version: str
    task: str
    context_length: int
    memory_bytes: int
    directory: Path | None
    endpoint: EndpointFacts | None = None
    tokenizer: TokenizerFacts | None = None

    def with_tokenizer(self, tokenizer: TokenizerFacts) -> "Route":
        return dataclasses.replace(self, tokenizer=tokenizer)


def find_caller(text: str, digest: bytes) -> Caller | None:
    """The live key or pass with this text, or None. Raises `KeyLacksScope`."""
    if text.startswith("pt_"):
        granted = playground.verify(text)
        if granted is None:
            return None
        return Caller(
            digest=digest, key_id=None, organisation_id=granted.organisation_id, listing_id=granted.listing_id,
            user_id=granted.user_id, expires_at=time.time() + _PASS_SECONDS,
            visitor=None if granted.user_id else granted.visitor,
        )  # fmt: skip
    key = api_keys.find(text, to="use")
    if key is None:
        return None
    if Scope.INFERENCE not in key.scopes:
        raise KeyLacksScope
    expires_at = key.expires_at.timestamp() if key.expires_at else float("inf")
    return Caller(
        digest=digest,
        key_id=key.pk,
        organisation_id=key.organisation_id,
        listing_id=None,
        user_id=None,
        expires_at=expires_at,
    )


def find_listing(caller: Caller, path: str) -> Listing:
    """The listing `owner/slug` if it is published or the caller's own. Raises `ModelNotFound`, also for one that the pass is not for."""
    owner, _, slug = path.partition("/")
    listing = (
        Listing.objects.select_related("organisation", "current_version")
        .filter(organisation__slug=owner, slug=slug)
        .filter(Q(published_at__isnull=False) | Q(organisation_id=caller.organisation_id))
        .first()
    )
    if listing is None or caller.listing_id not in (None, listing.pk):
        raise ModelNotFound(model=path, param="model")
    return listing


def find_route(caller: Caller, model: str) -> Route:
    """What `owner/slug` or `owner/slug:number` means to this caller.

    Raises `ModelNotFound`, and what `entitlement.find`, `entitlement.find_version` and
    `credit.facts.load` raise. Opens a lease where none is open.
    """
    path, number = split_name(model)
    for _ in range(_ATTEMPTS):
        _require_member(caller, path)
        listing = find_listing(caller, path)
        subscription = entitlement.find(caller.organisation_id, listing)
        # Epochs come before the facts that they guard, so what changes in between makes the facts stale.
        watched = _epochs(caller, listing, subscription)
        listing = find_listing(caller, path)
        again = entitlement.find(caller.organisation_id, listing)
        if again.pk == subscription.pk:
            version = entitlement.find_version(listing, number=number)
            return _route(caller, model, again, version=version, watched=watched)
    raise NotSubscribed(listing=path)


def _require_member(caller: Caller, path: str) -> None:
    """A page's pass dies with the membership that it was issued for; the role's epoch is the organisation's."""
    if caller.user_id and not membership.allows(caller.user_id, caller.organisation_id, "use"):
        raise NotSubscribed(listing=path)


def find_loss(caller: Caller, facts: CallFacts) -> str | None:
    """What has been taken from a call that was admitted with these facts, in a sentence; None if nothing has."""
    if facts.key_id is not None:
        key = ApiKey.objects.select_related("organisation").filter(pk=facts.key_id).first()
        if key is None or not key.is_live:
            return "Its API key was revoked."
        if dormancy := api_keys.find_dormancy(key):
            return str(dormancy)
    listing = Listing.objects.select_related("organisation").get(pk=facts.listing_id)
    try:
        _require_member(caller, listing.path)
        entitlement.find(facts.organisation_id, listing)
    except PortalError as refusal:
        return str(refusal)
    return None


def split_name(model: str) -> tuple[str, int | None]:
    """`owner/slug:3` as ("owner/slug", 3). Raises `ModelNotFound` for a version that is no number, and for a
    name that nothing can have.
    """
    path, colon, number = model.partition(":")
    if "\0" in path or (colon and not (number.isascii() and number.isdecimal() and len(number) < 10)):
        raise ModelNotFound(model=model, param="model")
    return path, int(number) if colon else None


def tokenizer_directory(version: Version) -> Path | None:
    """Where the version's tokenizer and template lie on this machine; None without text or weights."""
    if version.task not in _TEXT_TASKS or version.is_remote:
        return None
    is_embedder = version.task == Task.FEATURE_EXTRACTION
    return weights.directory(
        version, only=TOKENIZER_FILES | SENTENCE_FILES if is_embedder else TOKENIZER_FILES
    )


def _epochs(caller: Caller, listing: Listing, subscription: Subscription) -> tuple[tuple[str, int], ...]:
    names = [
        epochs.name("organisation", caller.organisation_id), epochs.name("organisation", listing.organisation_id),
        epochs.name("listing", listing.pk), epochs.name("subscription", subscription.pk),
    ]  # fmt: skip
    if caller.key_id is not None:
        names.append(epochs.name("key", caller.key_id))
    names = list(dict.fromkeys(names))
    return tuple(zip(names, epochs.read(names), strict=True))


def _route(
    caller: Caller,
    model: str,
    subscription: Subscription,
    *,
    version: Version,
    watched: tuple[tuple[str, int], ...],
) -> Route:
    return Route(
        caller=caller, model=model, version=version.pk.hex, task=version.task,
        facts=credit_facts.load(subscription, version, key_id=caller.key_id, epochs=watched),
        context_length=version.context_length, memory_bytes=version.memory_bytes,
        directory=tokenizer_directory(version), endpoint=find_endpoint(version) if version.is_remote else None,
    )  # fmt: skip


def find_endpoint(version: Version) -> EndpointFacts:
    """Where calls of a remote version go, key included. Raises `ServiceUnavailable` if it cannot be read."""
    endpoint = version.endpoint
    try:
        key = endpoints.reveal_key(endpoint)
    except Unreadable as error:
        log.error("the key of version %s cannot be read: %s", version.pk, error)
        raise ServiceUnavailable(
            reason="The model's server cannot be reached at the moment.", retry_after=60
        ) from None
    return EndpointFacts(
        version=version.pk.hex, base_url=endpoint.base_url, model=endpoint.model, key=key,
        max_output_tokens=endpoint.max_output_tokens, concurrency=endpoint.concurrency,
        hidden_reasoning_tokens=endpoint.hidden_reasoning_tokens,
    )  # fmt: skip
