-- Note where to send a cancellation for a call, if it is still held. KEYS: hold. ARGV: stream
return redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HSET', KEYS[1], 'control', ARGV[1]) or 0
