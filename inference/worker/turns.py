"""Whose turn it is: a message in a version's queue says that a call waits, not which one runs.

Organisations take turns, so that one which floods a model delays others by a call each, not by its whole
backlog. (Start-time fair queuing with every call as one unit; Goyal, Vin, Cheng 1996.)
"""

from typing import TYPE_CHECKING, Any

from inference import protocol
from portal.kit.redis import EVEN_IF_FULL

if TYPE_CHECKING:
    import redis

# The call that the message was sent for is the next if no call stands in line: then it had been given to a
# worker that died. Asked again with the same token, as after a lost answer, it says the same.
# KEYS: turns, token's key. ARGV: prefix of lines, prefix of payloads, seconds, request of the message
_NEXT = f"""{EVEN_IF_FULL}
local turns, token = KEYS[1], KEYS[2]
local known = redis.call('GET', token)
if known then return {{known, redis.call('GET', ARGV[2] .. known)}} end
local request, payload
repeat
  local organisation = redis.call('ZRANGE', turns, 0, 0)[1]
  if not organisation then break end
  local line = ARGV[1] .. organisation
  request = redis.call('LPOP', line)
  payload = request and redis.call('GET', ARGV[2] .. request)
  if payload then redis.call('ZINCRBY', turns, 1, organisation) end
  if redis.call('LLEN', line) == 0 then redis.call('ZREM', turns, organisation) end
until payload
if not payload then
  request = ARGV[4]
  payload = redis.call('GET', ARGV[2] .. request)
  if not payload then return false end
end
redis.call('SET', token, request, 'EX', ARGV[3])
return {{request, payload}}
"""


def take_next(
    client: "redis.Redis", version: str, *, request: str, token: str
) -> tuple[str, protocol.Payload] | None:
    """The call whose turn it is, when a message for `request` has come; None if there is none to run."""
    answer: Any = ask(client, version, request=request, token=token)
    return (answer[0].decode(), protocol.Payload(**protocol.unpack(answer[1]))) if is_turn(answer) else None


def ask(client: Any, version: str, *, request: str, token: str) -> Any:
    """The script's raw answer: `[request, packed payload]`. By any client or pipeline."""
    return client.eval(
        _NEXT, 2, protocol.turns_key(version), protocol.turn_key(token), protocol.line_key(version, ""),
        protocol.payload_key(""), protocol.TAKER_SECONDS, request,
    )  # fmt: skip


def is_turn(answer: Any) -> bool:
    """Whether the answer names a call that nobody has begun."""
    return bool(answer) and len(answer) > 1 and answer[1] is not None
