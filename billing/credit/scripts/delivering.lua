-- Say that a reader of finals lives: until its deadline, what it has not confirmed is on its way.
-- KEYS: readers. ARGV: reader, lease (ms)
redis.call('ZADD', KEYS[1], now_ms() + tonumber(ARGV[2]), ARGV[1])
