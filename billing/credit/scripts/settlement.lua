-- End one call: charge, release, record and answer, all or nothing.
-- KEYS: hold, holds, usage stream, readers, charged calls that the reader has not delivered
-- ARGV: request, outcome, '' or a time (ms): end it only if its hold lapsed by then, reply stream or '',
--       final, packed quantities, extra facts, reader or '', then meter and units, ...
local hold_key, holds, usage = KEYS[1], KEYS[2], KEYS[3]
local request, outcome, lapsed_by, reply = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function answer(how, charge)
  if reply ~= '' then
    redis.call('XADD', reply, 'MAXLEN', '~', 50000, '*',
      'f', request, 'p', ARGV[5], 'o', how, 'c', string.format('%.0f', charge), 'q', ARGV[6])
    redis.call('EXPIRE', reply, 600) -- whoever reads it may have died, and the stream with them
  end
  return {charge, how}
end

if lapsed_by ~= '' then
  local deadline = redis.call('ZSCORE', holds, request)
  if not deadline or tonumber(deadline) > tonumber(lapsed_by) then return {0, 'live'} end
end
local hold = read_hash(hold_key)
if not hold.lease then
  redis.call('ZREM', holds, request)
  return answer('gone', 0)
end

local counted, tokens = {}, 0
for at = 9, #ARGV, 2 do
  counted[ARGV[at]] = tonumber(ARGV[at + 1])
  if ARGV[at] == 'input_tokens' or ARGV[at] == 'output_tokens' then tokens = tokens + tonumber(ARGV[at + 1]) end
end

local lease = read_hash(hold.lease_key)
local is_fenced = not is_open(lease, hold.lease)
local is_empty = hold.puts_out == '1' and (counted.output_tokens or 0) == 0
local is_free = outcome == 'failed' or is_fenced or is_empty
local rated, charge = {}, 0
if not is_fenced then
  for meter in string.gmatch(lease.meters, '%S+') do
    local held, before = tonumber(hold['u:' .. meter] or 0), tonumber(lease[meter .. ':q'])
    redis.call('HINCRBY', hold.lease_key, meter .. ':h', 0 - held) -- -0 is no integer to Redis
    -- Beyond its hold a call is the provider's loss, never the consumer's.
    local units = is_free and 0 or math.min(counted[meter] or 0, held)
    if units > 0 then
      local cost = price(lease, meter, before + units) - price(lease, meter, before)
      redis.call('HINCRBY', hold.lease_key, meter .. ':q', units)
      rated[#rated + 1] = string.format('%s %.0f %.0f %.0f', meter, before, units, cost)
      charge = charge + cost
    end
  end
end

for live, bucket, held in string.gmatch(hold.scopes, '(%S+) (%S+) (%S+)') do
  redis.call('SREM', live, request)
  local back = tonumber(held) - (is_free and 0 or tokens)
  if back > 0 and redis.call('HEXISTS', bucket, 'tokens') == 1 then
    redis.call('HINCRBY', bucket, 'tokens', back * 60000)
  end
end
for budget in string.gmatch(hold.budgets or '', '%S+') do
  if redis.call('HGET', budget, 'run') == RUN then
    redis.call('HINCRBY', budget, 'h', 0 - tonumber(hold.bound))
    redis.call('HINCRBY', budget, 'q', charge)
  end
end
redis.call('ZREM', holds, request)
redis.call('DEL', hold_key)
redis.call('XADD', usage, '*', 'i', request, 'f', hold.facts, 'o', is_fenced and 'failed' or outcome,
  't', string.format('%.0f', now_ms()), 'q', ARGV[6], 'r', table.concat(rated, ','),
  'c', string.format('%.0f', charge), 'x', ARGV[7])
if #rated > 0 and ARGV[8] ~= '' and redis.call('ZSCORE', KEYS[4], ARGV[8]) then
  redis.call('HSET', KEYS[5], request,
    cmsgpack.pack({hold.lease_key, hold.facts, ARGV[6], table.concat(rated, ','), hold.budgets or ''}))
end
if lapsed_by ~= '' and hold.control then
  redis.call('XADD', hold.control, 'MAXLEN', '~', 10000, '*', 'cancel', request)
  redis.call('EXPIRE', hold.control, 600)
end
return answer(is_fenced and 'gone' or outcome, charge)
