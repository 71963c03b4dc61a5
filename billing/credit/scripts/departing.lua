-- Forget a reader that has not been heard of for long and has left nothing behind. Not as soon as its deadline has
-- passed: it may only have been slow, and what it is sent until it is heard of again has to be noted all the same.
-- KEYS: readers, undelivered. ARGV: reader, how long (ms)
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if deadline and tonumber(deadline) < now_ms() - tonumber(ARGV[2]) and redis.call('HLEN', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
