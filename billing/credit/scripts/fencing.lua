-- Stop a lost lease for good and say where the usage stream stands: no later event can be charged to it.
-- KEYS: lease, usage stream. ARGV: lease id
if redis.call('HGET', KEYS[1], 'lease') == ARGV[1] then redis.call('DEL', KEYS[1]) end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
return last[1] and last[1][1] or '0-0'
