"""A provider's own server as a version: address, model and limits are its identity; its key may be replaced."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.utils.crypto import salted_hmac

from marketplace import examinations
from marketplace.errors import EndpointExists, EndpointInvalid
from marketplace.models import Endpoint, EndpointTrial, Examination, Listing, Task, Version
from portal.accounts import membership, quotas
from portal.accounts.models import User
from portal.kit import clock, epochs, secrets

TASKS = frozenset({Task.TEXT_GENERATION, Task.FEATURE_EXTRACTION})
MOST_TOKENS = 10_000_000
MOST_CONCURRENT = 1_000
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An endpoint as its provider describes it. `api_key` may be empty. Context, output and the most reasoning that an
    answer bills without showing it are in tokens.
    """

    base_url: str
    model: str
    context_length: int
    max_output_tokens: int = 0
    concurrency: int = 64
    api_key: str = ""
    hidden_reasoning_tokens: int = 0

    def __repr__(self) -> str:
        # The key must not reach a log by way of a traceback or an assertion.
        return f"Wanted({self.base_url!r}, {self.model!r})"


def add_version(listing: Listing, *, by: User, wanted: Wanted, notes: str = "") -> Version:
    """Make the endpoint the listing's next version: `checking` until it has answered one tiny call.

    Raises `EndpointInvalid`, or `EndpointExists` for the endpoint of another version.
    """
    membership.require(by, listing.organisation, "publish")
    wanted = check(wanted, task=listing.task)
    digest = digest_of(listing, wanted)
    with transaction.atomic():
        Listing.objects.select_for_update().get(pk=listing.pk)
        if same := listing.versions.filter(digest=digest).exclude(state=Version.State.REFUSED).first():
            raise EndpointExists(listing=listing.path, number=same.number)
        remote = Endpoint.objects.filter(version__listing__organisation=listing.organisation)
        quotas.admit(listing.organisation, "endpoints", by=by, count=remote.count, what="remote endpoints")
        quotas.admit(listing.organisation, "versions", by=by, count=listing.versions.count, what="versions")
        latest = listing.versions.aggregate(number=Max("number"))["number"] or 0
        version = Version.objects.create(
            listing=listing, number=latest + 1, kind=Version.Kind.REMOTE, digest=digest, task=listing.task,
            architecture="", context_length=wanted.context_length, weight_bytes=0, memory_bytes=0, notes=notes,
            created_by=by, examined_at=clock.now(),
        )  # fmt: skip
        Endpoint.objects.create(
            version=version, base_url=wanted.base_url, model=wanted.model, concurrency=wanted.concurrency,
            max_output_tokens=wanted.max_output_tokens, sealed_key=_seal(wanted.api_key), key_changed_by=by,
            hidden_reasoning_tokens=wanted.hidden_reasoning_tokens,
        )  # fmt: skip
        examinations.enter(listing.organisation, stage=Examination.Stage.TRIAL, version=version)
    return version


def begin_trial(listing: Listing, *, by: User, wanted: Wanted) -> EndpointTrial:
    """Have one tiny call made in `jobs` of an endpoint that is not added yet.

    Raises `EndpointInvalid` or `TooManyExaminations`.
    """
    membership.require(by, listing.organisation, "publish")
    wanted = check(wanted, task=listing.task)
    quotas.slow_down(by)
    with transaction.atomic():
        trial = EndpointTrial.objects.create(
            listing=listing, created_by=by, base_url=wanted.base_url, model=wanted.model,
            sealed_key=_seal(wanted.api_key),
        )  # fmt: skip
        examinations.enter(listing.organisation, stage=Examination.Stage.TRIAL, endpoint=trial)
    return trial


def record_trial(trial: EndpointTrial, seen: Mapping[str, Any]) -> None:
    """What came back, `{"ok", "message", "shown", "counts"}`; the key is forgotten."""
    with transaction.atomic():
        EndpointTrial.objects.filter(pk=trial.pk).update(seen=dict(seen), sealed_key="")
        examinations.end(endpoint=trial)


def replace_key(version: Version, *, by: User, api_key: str) -> Endpoint:
    """Send another key from the next call on, in every process. Raises `EndpointInvalid`."""
    listing = version.listing
    membership.require(by, listing.organisation, "publish")
    _check_key(api_key)
    with transaction.atomic():
        endpoint = Endpoint.objects.select_for_update().filter(version=version).first()
        if endpoint is None:
            raise EndpointInvalid(reason="This version runs on weights; it has no endpoint.")
        endpoint.sealed_key = _seal(api_key)
        endpoint.key_changed_at, endpoint.key_changed_by = clock.now(), by
        endpoint.save(update_fields=["sealed_key", "key_changed_at", "key_changed_by"])
        epochs.bump("listing", listing.pk)
    return endpoint


def reveal_key(endpoint: Endpoint | EndpointTrial) -> str:
    """The key's text, for the call itself alone. Raises `secrets.Unreadable`."""
    return secrets.unseal(endpoint.sealed_key) if endpoint.sealed_key else ""


def reseal_keys() -> int:
    """Encrypt all keys anew under the first of ENCRYPTION_KEYS. Answers how many; raises `secrets.Unreadable`."""
    with transaction.atomic():
        sealed = list(Endpoint.objects.select_for_update().exclude(sealed_key=""))
        for endpoint in sealed:
            endpoint.sealed_key = secrets.reseal(endpoint.sealed_key)
        Endpoint.objects.bulk_update(sealed, ["sealed_key"], batch_size=500)
    return len(sealed)


def digest_of(listing: Listing, wanted: Wanted) -> str:
    """Over all that never changes. Keyed, since everyone sees it: a plain one would confirm a guessed address."""
    facts = [wanted.base_url, wanted.model, listing.task, wanted.context_length, wanted.max_output_tokens]
    # Left out where there is none, as it was before anyone could declare any.
    facts += [wanted.hidden_reasoning_tokens] if wanted.hidden_reasoning_tokens else []
    identity = "\n".join(map(str, facts))
    return salted_hmac(f"endpoint:{listing.pk}", identity, algorithm="sha256").hexdigest()


def check(wanted: Wanted, *, task: str) -> Wanted:
    """The endpoint with its address in canonical form. Raises `EndpointInvalid`."""
    if task not in TASKS:
        raise EndpointInvalid(reason="A remote endpoint can serve text generation or embeddings only.")
    if not 1 <= len(wanted.model) <= 200 or not wanted.model.isprintable():
        raise EndpointInvalid(
            reason="Give the model's name on the server, in at most 200 printable characters.", param="model"
        )
    generates = task == Task.TEXT_GENERATION
    if not 1 <= wanted.context_length <= MOST_TOKENS:
        reason = f"The context length must be from 1 to {MOST_TOKENS} tokens."
        raise EndpointInvalid(reason=reason, param="context_length")
    if generates and not 1 <= wanted.max_output_tokens <= wanted.context_length:
        reason = "The longest answer must be from 1 token to the context length."
        raise EndpointInvalid(reason=reason, param="max_output_tokens")
    if generates and not 0 <= wanted.hidden_reasoning_tokens <= wanted.max_output_tokens:
        reason = "The reasoning not shown must be from 0 tokens to the longest answer."
        raise EndpointInvalid(reason=reason, param="hidden_reasoning_tokens")
    if not 1 <= wanted.concurrency <= MOST_CONCURRENT:
        raise EndpointInvalid(
            reason=f"The calls at once must be from 1 to {MOST_CONCURRENT}.", param="concurrency"
        )
    _check_key(wanted.api_key)
    return Wanted(
        base_url=canonical_url(wanted.base_url), model=wanted.model, context_length=wanted.context_length,
        max_output_tokens=wanted.max_output_tokens if generates else 0, concurrency=wanted.concurrency,
        api_key=wanted.api_key, hidden_reasoning_tokens=wanted.hidden_reasoning_tokens if generates else 0,
    )  # fmt: skip


def canonical_url(text: str) -> str:
    """`https://host[:port]/v1` in lower case and without a last slash. Raises `EndpointInvalid`.

    Only its form and what the operator says of the name: the addresses behind it are checked on every connection.
    """
    example = "such as https://models.example.com/v1"
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        raise EndpointInvalid(
            reason=f"The base URL must be an address {example}.", param="base_url"
        ) from None
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if parts.scheme not in ("http", "https") or not authority or len(text) > 300:
        raise EndpointInvalid(reason=f"The base URL must be an address {example}.", param="base_url")
    path = parts.path.rstrip("/")
    if parts.query or parts.fragment or not _PATH.fullmatch(path) or ".." in path:
        reason = f"The base URL must be a plain address without a query, {example}."
        raise EndpointInvalid(reason=reason, param="base_url")
    host = parts.hostname or ""
    allowed = settings.OUTBOUND.names(host)
    if parts.scheme == "http" and not allowed:
        raise EndpointInvalid(
            reason="The base URL must be https: the operator has not allowed plain HTTP to it.",
            param="base_url",
        )
    default = 443 if parts.scheme == "https" else 80
    if not allowed and (port or default) not in settings.OUTBOUND.ports:
        reason = f"Port {port or default} is not among those that the operator allows."
        raise EndpointInvalid(reason=reason, param="base_url")
    shown = authority[1].lower() if port in (None, default) else f"{authority[1].lower()}:{port}"
    return f"{parts.scheme}://{shown}{path}"


def _check_key(text: str) -> None:
    if len(text) > 2_000 or not text.isascii() or not text.isprintable() or " " in text:
        reason = "An API key is printable ASCII without spaces, at most 2000 characters."
        raise EndpointInvalid(reason=reason, param="api_key")


def _seal(text: str) -> str:
    return secrets.seal(text) if text else ""
