-- Leave a version alone for a while: twice as long as the last time, within limits.
-- KEYS: sorted set of quarantined versions, hash of this version.
-- ARGV: version, kind, detail, now, seconds of the first time, most seconds, seconds after which all is forgotten
redis.call('DEL', '')
local now = tonumber(ARGV[4])
local until_then = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if until_then > now then return tostring(until_then) end
local times = redis.call('HINCRBY', KEYS[2], 'times', 1)
until_then = now + math.min(tonumber(ARGV[6]), tonumber(ARGV[5]) * 2 ^ (times - 1))
redis.call('HSET', KEYS[2], 'kind', ARGV[2], 'detail', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[7])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], until_then, ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[7])
return tostring(until_then)
