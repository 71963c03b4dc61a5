"""The Redis keys of credit and usage."""

from uuid import UUID

USAGE_STREAM = "usage"
# Sorted set: request hex -> deadline in unix ms.
HOLDS = "holds"

# Sorted set: period hex -> unix ms of the last admission under its lease.
LEASES = "leases"


def lease(period_id: UUID) -> str:
    """Hash: what a period has settled, holds and may use up."""
    return f"lease:{period_id.hex}"


def hold(request_id: UUID) -> str:
    """Hash: the worst case of one live call, and the facts that its usage event will carry."""
    return f"hold:{request_id.hex}"


def live(subscription_id: UUID) -> str:
    """Set: the subscription's live calls."""
    return f"live:{subscription_id.hex}"


def bucket(subscription_id: UUID) -> str:
    """Hash: the token buckets of the subscription's rate limits."""
    return f"bucket:{subscription_id.hex}"
