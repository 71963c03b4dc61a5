-- Write a lease that Postgres is about to commit. Nobody can use it before: its id is in no one's facts yet.
-- KEYS: lease, used leases. ARGV: lease id, expiry (ms), granted charge, allowed charge,
--       then meter, settled units, included, amount or '', per, granted or '', allowed or '', ...
local key, hash, meters = KEYS[1], {}, {}
for at = 5, #ARGV, 7 do
  local meter = ARGV[at]
  meters[#meters + 1] = meter
  for offset, field in ipairs({ 'q', 'i', 'a', 'p', 'l', 'x' }) do
    hash[#hash + 1] = meter .. ':' .. field
    hash[#hash + 1] = ARGV[at + offset]
  end
  hash[#hash + 1] = meter .. ':h'
  hash[#hash + 1] = 0
end
redis.call('DEL', key)
redis.call('HSET', key, 'lease', ARGV[1], 'run', RUN, 'charge:l', ARGV[3], 'charge:x', ARGV[4],
  'meters', table.concat(meters, ' '), unpack(hash))
redis.call('PEXPIREAT', key, ARGV[2])
redis.call('ZADD', KEYS[2], now_ms(), string.sub(key, 7)) -- after "lease:"
return RUN
