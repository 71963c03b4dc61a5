"""What the web processes tell a worker: to stop a call."""

from typing import TYPE_CHECKING

from inference.protocol import control_stream
from portal.kit.redis import EVEN_IF_FULL

if TYPE_CHECKING:
    from redis.asyncio import Redis

_LENGTH, _SECONDS = 10_000, 600
_CANCEL = f"""{EVEN_IF_FULL}
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'cancel', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


async def ask_to_stop(client: "Redis", request: str, *, worker: str) -> None:
    """Cancel a call on its worker; another worker ignores it."""
    await client.eval(_CANCEL, 1, control_stream(worker), request, _LENGTH, _SECONDS)
