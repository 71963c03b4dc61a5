-- Write a budget's lease that Postgres is about to commit. Nobody can use it before.
-- KEYS: budget, used budgets. ARGV: expiry (ms, 0: never), used, granted, allowed
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'run', RUN, 'q', ARGV[2], 'h', 0, 'l', ARGV[3], 'x', ARGV[4])
if ARGV[1] ~= '0' then redis.call('PEXPIREAT', KEYS[1], ARGV[1]) end
redis.call('ZADD', KEYS[2], now_ms(), string.sub(KEYS[1], 8)) -- after "budget:"
return RUN
