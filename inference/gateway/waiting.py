"""How much may wait for one version: calls, and bytes of their payloads. What is refused leaves nothing."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import NoScriptError

from inference.gateway.errors import Overloaded
from inference.protocol import PAYLOAD_SECONDS, payload_key, queue_name

# Calls that may wait in one version's queue; beyond it they are better tried elsewhere or later.
QUEUE_LIMIT = 1_000
# Payloads may be large, such as images: as many as that would not fit in Redis.
QUEUE_BYTES = 256 * 2**20
RETRY_SECONDS = 2

# The hash keeps the size of each payload by its key, and their sum as "". Workers take payloads without a
# word to it, so the sum is too high rather than too low; it is counted anew before anything is refused.
_ENTER = """
local queue, waiting, payload = KEYS[1], KEYS[2], KEYS[3]
local most, most_bytes, seconds = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local size = #ARGV[1]
local calls = redis.call("LLEN", queue)
local bytes = tonumber(redis.call("HGET", waiting, "") or "0")
if bytes + size > most_bytes or redis.call("HLEN", waiting) > 4 * most then
    bytes = 0
    local kept = redis.call("HGETALL", waiting)
    for index = 1, #kept, 2 do
        if kept[index] ~= "" then
            if redis.call("EXISTS", kept[index]) == 1 then
                bytes = bytes + tonumber(kept[index + 1])
            else
                redis.call("HDEL", waiting, kept[index])
            end
        end
    end
    redis.call("HSET", waiting, "", bytes)
end
if calls >= most or bytes + size > most_bytes then
    return {0, calls}
end
redis.call("SET", payload, ARGV[1], "EX", seconds)
redis.call("HSET", waiting, payload, size, "", bytes + size)
redis.call("EXPIRE", waiting, seconds)
if ARGV[2] ~= "" then
    calls = redis.call("LPUSH", queue, ARGV[2])
end
return {1, calls}
"""

_DIGEST = hashlib.sha1(_ENTER.encode(), usedforsecurity=False).hexdigest()

Run = Callable[..., Awaitable[Any]]


def waiting_key(version: str) -> str:
    """Hash: sizes of the payloads that wait for a version, in bytes, by their keys."""
    return f"inference:waiting:{version}"


async def enter(run: Run, *, request: str, version: str, packed: bytes, message: bytes = b"") -> int:
    """Keep the payload, and put `message`, if any, in the version's queue; how many wait there now.

    `run` executes one Redis command. Raises `Overloaded` if too many calls or too many bytes wait.
    """
    keys = (queue_name(version), waiting_key(version), payload_key(request))
    command = (3, *keys, packed, message, QUEUE_LIMIT, QUEUE_BYTES, PAYLOAD_SECONDS)
    try:
        entered, calls = await run("EVALSHA", _DIGEST, *command)
    except NoScriptError:
        entered, calls = await run("EVAL", _ENTER, *command)
    if not entered:
        raise Overloaded(waiting=calls, retry_after=RETRY_SECONDS, retry_after_words=f"{RETRY_SECONDS} s")
    return int(calls)
