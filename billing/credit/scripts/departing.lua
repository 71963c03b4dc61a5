-- Forget a reader whose deadline has passed and who has left nothing behind. KEYS: readers, undelivered. ARGV: reader
local deadline = redis.call('ZSCORE', KEYS[1], ARGV[1])
if deadline and tonumber(deadline) < now_ms() and redis.call('HLEN', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
