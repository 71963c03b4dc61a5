-- Keep a value for a while, beside what else its organisation and all others keep. Whatever there is no room for
-- beside it goes, the oldest first. Answers 0 for a value that is too large by itself; then nothing is kept.
-- KEYS: the value's key, ages of all, ages of the organisation's, owners, sums
-- ARGV: value, organisation, seconds, most bytes of the organisation, of all, bytes of one entry's bookkeeping,
--       prefix of organisations' ages
redis.call('DEL', '') -- Also where Redis is full: what is kept is bounded, and its call has been paid for.
local name, ages, own, owners, sums = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local size, seconds = #ARGV[1] + tonumber(ARGV[6]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function subtract(whose, bytes)
  if redis.call('HINCRBY', sums, whose, 0 - bytes) <= 0 then redis.call('HDEL', sums, whose) end
end

local function forget(entry)
  local known = redis.call('HGET', owners, entry)
  redis.call('DEL', entry)
  redis.call('HDEL', owners, entry)
  redis.call('ZREM', ages, entry)
  if not known then return end
  local bytes, owner = string.match(known, '^(%d+) (%S+)$')
  redis.call('ZREM', ARGV[7] .. owner, entry)
  subtract(owner, bytes)
  subtract('all', bytes)
end

-- What has expired by itself is still in the sums.
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', ages, '-inf', now, 'LIMIT', 0, 1000)) do forget(entry) end
forget(name)
if size > tonumber(ARGV[4]) then return 0 end

local function make_room(whose, order, most)
  while tonumber(redis.call('HGET', sums, whose) or 0) + size > most do
    local oldest = redis.call('ZRANGE', order, 0, 0)[1]
    if not oldest then
      redis.call('HDEL', sums, whose)
      return
    end
    redis.call('ZREM', order, oldest)
    forget(oldest)
  end
end
make_room(ARGV[2], own, tonumber(ARGV[4]))
make_room('all', ages, tonumber(ARGV[5]))

redis.call('SET', name, ARGV[1], 'EX', seconds)
redis.call('HSET', owners, name, string.format('%.0f %s', size, ARGV[2]))
redis.call('ZADD', ages, now + seconds * 1000, name)
redis.call('ZADD', own, now + seconds * 1000, name)
redis.call('HINCRBY', sums, ARGV[2], size)
redis.call('HINCRBY', sums, 'all', size)
for index = 2, 5 do redis.call('EXPIRE', KEYS[index], seconds + 60) end
return 1
