"""Who works right now: the workers whose leases hold, read from Redis by pages and monitoring."""

from typing import TYPE_CHECKING

from inference.protocol import WORKERS, WorkerState, read_worker_state, worker_key

if TYPE_CHECKING:
    import redis


def present(client: "redis.Redis") -> list[WorkerState]:
    """What every live worker last said of itself. Two commands; raises a Redis error."""
    members = [member.decode() for member in client.smembers(WORKERS) if isinstance(member, bytes)]
    leases = client.mget([worker_key(member) for member in members]) if members else []
    return [read_worker_state(lease) for lease in leases if isinstance(lease, bytes)]
