"""How much may wait for workers: calls of one version, and of each organisation among them; bytes of payloads
of one version, of one organisation and of all. What is refused leaves nothing.

An organisation may have as many calls in a version's queue as there are places free for everybody (dynamic
thresholds; Choudhury and Hahne 1998): alone it may take half of them, and never all.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from inference.gateway.errors import (
    CallError,
    Overloaded,
    ServiceUnavailable,
    ShareTaken,
    TooMuchWaiting,
)
from inference.protocol import PAYLOAD_SECONDS, line_key, payload_key, queue_name, turns_key

if TYPE_CHECKING:
    from inference.gateway.call import Call

# Calls that may wait in one version's queue; beyond it they are better tried elsewhere or later.
QUEUE_LIMIT = 2_000
# Payloads may be large, such as images: as many as that would not fit in Redis.
QUEUE_BYTES = 256 * 2**20
# Of one organisation, whose versions are many; and of all, who are many too.
ORGANISATION_BYTES = 256 * 2**20
TOTAL_BYTES = 2**30
# But no more than these parts of what Redis may hold, where it has a limit.
OWN_PART, ALL_PART = 8, 2
RETRY_SECONDS = 2

# One hash keeps of each payload, by its key, its size and whose it is, and the sums. Workers take payloads
# without a word to it, so sums are too high rather than too low; they are counted anew before anything is
# refused, but seldom enough that hundreds of refusals cost little.
# The payload is the first thing written: a Redis at its memory limit refuses that, and then nothing is.
# KEYS: queue, payload key, hash, the organisation's line, turns. ARGV: payload, message or '', most calls,
#       seconds, version, organisation, most bytes of the version, of the organisation, of all, request
_ENTER = """
local queue, payload, waiting, line, turns = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local size, seconds = #ARGV[1], ARGV[4]
local calls = redis.call("LLEN", queue)
if calls >= tonumber(ARGV[3]) then return {0, calls, 0} end
local own, share = redis.call("LLEN", line), tonumber(ARGV[3]) - calls
-- Calls that were withdrawn stand in line until their turn. That they do is looked up seldom, as sums are.
if own >= share and redis.call("SET", line .. ":looked", 1, "PX", 200, "NX") then
    for _, request in ipairs(redis.call("LRANGE", line, 0, -1)) do
        if redis.call("EXISTS", (string.gsub(payload, ARGV[10], request))) == 0 then
            redis.call("LREM", line, 1, request)
        end
    end
    own = redis.call("LLEN", line)
end
if own >= share then return {0, own, 4} end

local sums = { "version:" .. ARGV[5], "organisation:" .. ARGV[6], "all" }
local known = redis.call("HMGET", waiting, sums[1], sums[2], sums[3], "payloads", "due", "next")
local bytes, payloads, due = {}, tonumber(known[4] or 0), tonumber(known[5] or 1000)
for at, sum in ipairs(sums) do bytes[sum] = tonumber(known[at] or 0) end

local function find_full()
    for at, sum in ipairs(sums) do
        if (bytes[sum] or 0) + size > tonumber(ARGV[6 + at]) then return at end
    end
end

local function now_ms()
    local time = redis.call("TIME")
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The hash as it should be, to be written by `keep`.
local anew
local function count()
    anew, bytes, payloads = {}, {}, 0
    local kept = redis.call("HGETALL", waiting)
    for index = 1, #kept, 2 do
        local size, version, organisation = string.match(kept[index + 1], "^(%d+) (%S+) (%S+)$")
        if size and redis.call("EXISTS", kept[index]) == 1 then
            payloads = payloads + 1
            anew[#anew + 1], anew[#anew + 2] = kept[index], kept[index + 1]
            for _, sum in ipairs({ "version:" .. version, "organisation:" .. organisation, "all" }) do
                bytes[sum] = (bytes[sum] or 0) + size
            end
        end
    end
    for _, pair in ipairs({ { "due", 2 * payloads + 1000 }, { "next", now_ms() + math.max(100, payloads / 10) } }) do
        anew[#anew + 1], anew[#anew + 2] = pair[1], string.format("%.0f", pair[2])
    end
end

local function keep()
    redis.call("DEL", waiting)
    for sum, value in pairs(bytes) do
        anew[#anew + 1], anew[#anew + 2] = sum, string.format("%.0f", value)
    end
    anew[#anew + 1], anew[#anew + 2] = "payloads", payloads
    for first = 1, #anew, 2000 do
        redis.call("HSET", waiting, unpack(anew, first, math.min(first + 1999, #anew)))
    end
    redis.call("EXPIRE", waiting, seconds)
end

local full = find_full()
if payloads >= due or (full and now_ms() >= tonumber(known[6] or 0)) then
    count()
    full = find_full()
end
if full then
    if anew then keep() end
    return {0, calls, full}
end
redis.call("SET", payload, ARGV[1], "EX", seconds)
if anew then keep() end
redis.call("HSET", waiting, payload, size .. " " .. ARGV[5] .. " " .. ARGV[6], "payloads", payloads + 1,
    sums[1], (bytes[sums[1]] or 0) + size, sums[2], (bytes[sums[2]] or 0) + size, sums[3], (bytes[sums[3]] or 0) + size)
redis.call("EXPIRE", waiting, seconds)
redis.call("RPUSH", line, ARGV[10])
redis.call("EXPIRE", line, seconds)
if not redis.call("ZSCORE", turns, ARGV[6]) then
    -- Whoever comes anew comes next, and has saved up nothing for the time away.
    redis.call("ZADD", turns, redis.call("ZRANGE", turns, 0, 0, "WITHSCORES")[2] or 0, ARGV[6])
end
redis.call("EXPIRE", turns, seconds)
if ARGV[2] ~= "" then
    calls = redis.call("LPUSH", queue, ARGV[2])
    redis.call("EXPIRE", queue, seconds)
end
return {1, calls}
"""

_DIGEST = hashlib.sha1(_ENTER.encode(), usedforsecurity=False).hexdigest()

Run = Callable[..., Awaitable[Any]]

# Hash: the payloads that wait, by their keys, and sums of bytes.
WAITING = "inference:waiting"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of payloads that may wait: of one version, of one organisation, of all."""

    version: int
    organisation: int
    total: int


def limits(memory_bytes: int = 0) -> Limits:
    """For a Redis that may hold so much; 0 is without limit."""
    own, total = memory_bytes // OWN_PART or QUEUE_BYTES, memory_bytes // ALL_PART or TOTAL_BYTES
    return Limits(min(QUEUE_BYTES, own), min(ORGANISATION_BYTES, own), min(TOTAL_BYTES, total))


async def enter(run: Run, call: "Call", *, packed: bytes, most: Limits, message: bytes = b"") -> int:
    """Keep the payload, and put `message`, if any, in the version's queue; how many wait there now.

    `run` executes one Redis command. Raises `Overloaded`, `ShareTaken`, `TooMuchWaiting` or
    `ServiceUnavailable` if too many calls or too many bytes wait.
    """
    version, organisation = call.version, call.facts.organisation_id.hex
    line, turns = line_key(version, organisation), turns_key(version)
    keys = (queue_name(version), payload_key(call.hex), WAITING, line, turns)
    numbers = (QUEUE_LIMIT, PAYLOAD_SECONDS, version, organisation, *astuple(most))
    command = (len(keys), *keys, packed, message, *numbers, call.hex)
    try:
        entered, calls, *full = await run("EVALSHA", _DIGEST, *command)
    except NoScriptError:
        entered, calls, *full = await run("EVAL", _ENTER, *command)
    if not entered:
        raise _refusal(calls, full=full[0], most=most)
    return int(calls)


def _refusal(calls: int, *, full: int, most: Limits) -> CallError:
    words = f"{RETRY_SECONDS} s"
    if full == 2:
        return TooMuchWaiting(limit=most.organisation, retry_after=RETRY_SECONDS, retry_after_words=words)
    if full == 4:
        return ShareTaken(waiting=calls, retry_after=RETRY_SECONDS, retry_after_words=words)
    if full == 3:
        reason = "Too much waits here at the moment. Please try again shortly."
        return ServiceUnavailable(reason=reason, retry_after=RETRY_SECONDS)
    return Overloaded(waiting=calls, retry_after=RETRY_SECONDS, retry_after_words=words)
