"""Epochs: a counter in Redis per cached fact. Who changes a fact bumps it; who cached it compares.

Admission compares the epochs of key, organisation, subscription and listing in one script, so a change
stops the next call in every process, however long that process keeps its cache.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from django.db import transaction

from portal.kit import redis

# An epoch that nobody moves any more is that of a fact at rest, or of one that is gone. It outlives every cached copy
# by far, which nobody keeps for longer than the second.
KEEP_SECONDS, COPY_SECONDS = 7 * 86_400, 86_400

Fact = Literal["key", "organisation", "subscription", "listing"]


# Also where Redis is full: what was revoked must not come back when it no longer is.
_BUMP = f"""{redis.EVEN_IF_FULL}
redis.call('INCR', KEYS[1])
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


def name(fact: Fact, identity: UUID) -> str:
    """The Redis key of an epoch."""
    return f"epoch:{fact}:{identity.hex}"


def bump(fact: Fact, identity: UUID) -> None:
    """Invalidate every cached copy of the fact, once the current transaction has committed."""
    transaction.on_commit(lambda: redis.client().eval(_BUMP, 1, name(fact, identity), KEEP_SECONDS))


def read(names: Sequence[str]) -> list[int]:
    """Present values, 0 where none was ever bumped. Read them BEFORE the facts that they guard."""
    return [int(value or 0) for value in redis.client().mget(names)]
