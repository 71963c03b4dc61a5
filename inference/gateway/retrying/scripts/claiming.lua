-- Make the entry of a call that is about to run, unless there is one. Answers nothing if it is made now, the
-- entry's {digest, 1 if the call still runs, what became of the answer or ''}, or {'full', ms until there is room}.
-- KEYS: entry, entries of all, entries of the organisation
-- ARGV: digest, lease (ms), kept (s), promised (s), most entries of the organisation, of all, prefix of
--       organisations' entries, organisation
local entry, all, own = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', entry, 'digest', 'until', 'answer')
if known[1] then return {known[1], tonumber(known[2]) > now and 1 or 0, known[3] or ''} end

local kept_ms, promised_ms = ARGV[3] * 1000, ARGV[4] * 1000
-- Whoever is older than was promised makes room for others, nobody else: a call must not run twice.
local function find_wait(entries, most)
  redis.call('ZREMRANGEBYSCORE', entries, '-inf', now)
  while redis.call('ZCARD', entries) >= most do
    local oldest = redis.call('ZRANGE', entries, 0, 0, 'WITHSCORES')
    local wait = tonumber(oldest[2]) - kept_ms + promised_ms - now
    if wait > 0 then return wait end
    redis.call('DEL', oldest[1])
    redis.call('ZREM', all, oldest[1])
    redis.call('ZREM', ARGV[7] .. string.match(oldest[1], '(%x+):%x+$'), oldest[1])
  end
  return 0
end
local wait = math.max(find_wait(own, tonumber(ARGV[5])), find_wait(all, tonumber(ARGV[6])))
if wait > 0 then return {'full', wait} end

redis.call('HSET', entry, 'digest', ARGV[1], 'until', now + ARGV[2])
redis.call('EXPIRE', entry, ARGV[3])
for _, entries in ipairs({ all, own }) do
  redis.call('ZADD', entries, now + kept_ms, entry)
  redis.call('EXPIRE', entries, ARGV[3])
end
