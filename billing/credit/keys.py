"""The Redis keys of credit and usage."""

from uuid import UUID

USAGE_STREAM = "usage"
# Sorted set: request hex -> deadline in unix ms.
HOLDS = "holds"

# Sorted set: period hex -> unix ms of the last admission under its lease.
LEASES = "leases"

# Sorted set: reply stream of a web process that delivers finals -> deadline in unix ms.
READERS = "readers"

# Sorted set: budget lease hex -> unix ms of the last admission under it.
BUDGETS = "budgets"


def lease(period_id: UUID) -> str:
    """Hash: what a period has settled, holds and may use up."""
    return f"lease:{period_id.hex}"


def hold(request_id: UUID) -> str:
    """Hash: the worst case of one live call, and the facts that its usage event will carry."""
    return f"hold:{request_id.hex}"


def budget(lease_id: UUID) -> str:
    """Hash: what one window of a key's budget has settled (q), holds (h), was granted (l) and is allowed (x)."""
    return f"budget:{lease_id.hex}"


def undelivered(reader: str) -> str:
    """Hash: what was charged and has not been delivered yet by a reader, by request hex."""
    return f"undelivered:{reader}"


def live(holder_id: UUID) -> str:
    """Set: the live calls of a subscription, a key or an organisation."""
    return f"live:{holder_id.hex}"


def bucket(holder_id: UUID) -> str:
    """Hash: the token buckets of the rate limits of a subscription, a key or an organisation."""
    return f"bucket:{holder_id.hex}"
