-- Take back a lease that nobody uses: not since a time, and nothing is held. Answers its id and where the
-- usage stream stands, or false.
-- KEYS: lease, used leases, usage stream. ARGV: period, not used since (ms)
local used = redis.call('ZSCORE', KEYS[2], ARGV[1])
if used and tonumber(used) > tonumber(ARGV[2]) then return false end
local lease = read_hash(KEYS[1])
if lease.run ~= RUN then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return false
end
for meter in string.gmatch(lease.meters, '%S+') do
  if tonumber(lease[meter .. ':h']) > 0 then return false end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
return {lease.lease, last[1] and last[1][1] or '0-0'}
