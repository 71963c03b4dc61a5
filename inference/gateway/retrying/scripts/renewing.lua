-- Say that the call of an entry still runs, or what has become of its answer: from here on the entry is kept anew.
-- KEYS: entry, entries of all, entries of the organisation. ARGV: lease (ms), kept (s), '' or what became of it
redis.call('DEL', '') -- Also where Redis is full.
if redis.call('EXISTS', KEYS[1]) == 0 then return end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'until', now + ARGV[1])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'answer', ARGV[3]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
for index = 2, 3 do
  redis.call('ZADD', KEYS[index], now + ARGV[2] * 1000, KEYS[1])
  redis.call('EXPIRE', KEYS[index], ARGV[2])
end
