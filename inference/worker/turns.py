"""Whose turn it is: a message in a version's queue says that a call waits, not which one runs.

Organisations take turns, so that one which floods a model delays others by a call each, not by its whole
backlog. (Start-time fair queuing with every call as one unit; Goyal, Vin, Cheng 1996.)
"""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from inference import protocol
from portal.kit.redis import EVEN_IF_FULL

if TYPE_CHECKING:
    import redis

MOST_READ = 1_000

# The call that the message was sent for is the next if no call stands in line: then it had been given to a
# worker that died. Asked again with the same token, as after a lost answer, it says the same.
# With an organisation, only its calls are looked at, and the message that another one would have brought goes too.
# KEYS: turns, token's key, queue. ARGV: prefix of lines, prefix of payloads, seconds, request of the message,
#       organisation or ''
_NEXT = f"""{EVEN_IF_FULL}
local turns, token = KEYS[1], KEYS[2]
local known = redis.call('GET', token)
if known then return {{known, redis.call('GET', ARGV[2] .. known)}} end
local request, payload
repeat
  local organisation
  if ARGV[5] == '' then
    organisation = redis.call('ZRANGE', turns, 0, 0)[1]
  elseif redis.call('ZSCORE', turns, ARGV[5]) then
    organisation = ARGV[5]
  end
  if not organisation then break end
  local line = ARGV[1] .. organisation
  request = redis.call('LPOP', line)
  payload = request and redis.call('GET', ARGV[2] .. request)
  if payload then redis.call('ZINCRBY', turns, 1, organisation) end
  if redis.call('LLEN', line) == 0 then redis.call('ZREM', turns, organisation) end
until payload
if ARGV[5] ~= '' then
  if payload then redis.call('RPOP', KEYS[3]) end
elseif not payload then
  request = ARGV[4]
  payload = redis.call('GET', ARGV[2] .. request)
  if not payload then return false end
end
if not payload then return false end
redis.call('SET', token, request, 'EX', ARGV[3])
return {{request, payload}}
"""


def take_next(
    client: "redis.Redis", version: str, *, request: str, token: str
) -> tuple[str, protocol.Payload] | None:
    """The call whose turn it is, when a message for `request` has come; None if there is none to run."""
    answer: Any = ask(client, version, request=request, token=token)
    return (answer[0].decode(), protocol.Payload(**protocol.unpack(answer[1]))) if is_turn(answer) else None


def take_next_of(
    client: "redis.Redis", version: str, *, organisation: str
) -> tuple[str, protocol.Payload] | None:
    """An organisation's next call, though no message has come for it; None if none waits."""
    answer: Any = ask(client, version, request="", token=uuid4().hex, organisation=organisation)
    return (answer[0].decode(), protocol.Payload(**protocol.unpack(answer[1]))) if is_turn(answer) else None


def read_waiting(client: "redis.Redis", version: str) -> list[str]:
    """The organisations of which calls wait, whose turn it is first."""
    members: Any = client.zrange(protocol.turns_key(version), 0, MOST_READ - 1)
    return [member.decode() for member in members]


def ask(client: Any, version: str, *, request: str, token: str, organisation: str = "") -> Any:
    """The script's raw answer: `[request, packed payload]`. By any client or pipeline."""
    return client.eval(
        _NEXT, 3, protocol.turns_key(version), protocol.turn_key(token), protocol.queue_name(version),
        protocol.line_key(version, ""), protocol.payload_key(""), protocol.TAKER_SECONDS, request, organisation,
    )  # fmt: skip


def is_turn(answer: Any) -> bool:
    """Whether the answer names a call that nobody has begun."""
    return bool(answer) and len(answer) > 1 and answer[1] is not None
