"""The lines in which calls wait for a version, put in order again after a worker or a connection was lost.

A call waits in its organisation's line, and a message in the version's queue says so. A worker that dies at the
wrong moment takes the one, the other or both with it; the payload is left, and proves that nobody runs the call.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from inference.gateway.call import Call
from inference.protocol import PAYLOAD_SECONDS, line_key, payload_key, queue_name, turns_key

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: queue, turns. ARGV: prefix of lines, prefix of payloads, seconds, then request, organisation, ...
_RESTORE = """
local queue, turns = KEYS[1], KEYS[2]
local stands, waiting = {}, 0
for _, organisation in ipairs(redis.call("ZRANGE", turns, 0, -1)) do
    for _, request in ipairs(redis.call("LRANGE", ARGV[1] .. organisation, 0, -1)) do
        if redis.call("EXISTS", ARGV[2] .. request) == 1 then
            stands[request], waiting = true, waiting + 1
        end
    end
end
for at = 4, #ARGV, 2 do
    local request, organisation = ARGV[at], ARGV[at + 1]
    local line = ARGV[1] .. organisation
    if not stands[request] and redis.call("EXISTS", ARGV[2] .. request) == 1 then
        redis.call("LPUSH", line, request)
        redis.call("EXPIRE", line, ARGV[3])
        waiting = waiting + 1
        if not redis.call("ZSCORE", turns, organisation) then
            redis.call("ZADD", turns, redis.call("ZRANGE", turns, 0, 0, "WITHSCORES")[2] or 0, organisation)
        end
        redis.call("EXPIRE", turns, ARGV[3])
    end
end
return waiting - redis.call("LLEN", queue)
"""


async def restore(client: "Redis", version: str, calls: Sequence[Call]) -> int:
    """Put those calls of a version in line that nobody has begun and that stand in none. Answers how many
    messages are missing for the calls that wait, by whoever's account; for a broker that is not this Redis
    that is all of them. To be wrong costs little: a message too many finds no call.
    """
    waiting = [item for call in calls for item in (call.hex, call.facts.organisation_id.hex)]
    answer: Any = await client.eval(
        _RESTORE, 2, queue_name(version), turns_key(version), line_key(version, ""), payload_key(""),
        PAYLOAD_SECONDS, *waiting,
    )  # fmt: skip
    return max(0, int(answer))
