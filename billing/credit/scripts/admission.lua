-- Admit one call, or say why not. A refusal changes nothing.
-- KEYS: lease, hold, holds, live, bucket, used leases, then one per epoch
-- ARGV: lease id, request, period end (ms), hold (ms), requests/min, tokens/min, concurrency (0: none),
--       worst tokens, facts, 1 if it may put out tokens, then an epoch each, then meter and worst units, ...
local lease_key, hold_key, holds, live, bucket, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local SCALE = 60000 -- bucket levels are in sixty-thousandths, so that a millisecond refills whole numbers
local epochs = #KEYS - 6
local now = now_ms()

for at = 1, epochs do
  if (redis.call('GET', KEYS[6 + at]) or '0') ~= ARGV[10 + at] then return {'stale', 'epoch'} end
end
local lease = read_hash(lease_key)
if not is_open(lease, ARGV[1]) then return {'stale', 'lease'} end
if now >= tonumber(ARGV[3]) then return {'stale', 'period'} end

local function level(field, limit, last)
  local elapsed = math.max(0, now - (last.at and tonumber(last.at) or now))
  local full = limit * SCALE
  return last[field] and math.min(full, tonumber(last[field]) + limit * elapsed) or full
end

local per_minute = { requests = tonumber(ARGV[5]), tokens = tonumber(ARGV[6]) }
local wanted = { requests = 1, tokens = tonumber(ARGV[8]) }
local last = read_hash(bucket)
local left = {}
for _, scope in ipairs({ 'requests', 'tokens' }) do
  left[scope] = level(scope, per_minute[scope], last)
end

-- What remains of each rate limit, and the milliseconds until it is full again.
local function windows()
  local answer = { 'admitted' }
  for _, scope in ipairs({ 'requests', 'tokens' }) do
    local limit = per_minute[scope]
    answer[#answer + 1] = math.floor(left[scope] / SCALE)
    answer[#answer + 1] = limit > 0 and math.ceil((limit * SCALE - left[scope]) / limit) or 0
  end
  return answer
end

if redis.call('EXISTS', hold_key) == 1 then return windows() end

local concurrency = tonumber(ARGV[7])
if concurrency > 0 and redis.call('SCARD', live) >= concurrency then
  return {'limited', 'concurrent requests', concurrency, 0, 1000}
end
for _, scope in ipairs({ 'requests', 'tokens' }) do
  local limit, cost = per_minute[scope], wanted[scope] * SCALE
  if limit > 0 and left[scope] < cost then
    local wait = cost > limit * SCALE and 0 or math.ceil((cost - left[scope]) / limit)
    return {'limited', scope .. ' per minute', limit, math.floor(left[scope] / SCALE), wait}
  end
end

-- The worst case beside everything settled and held. R is monotone, so charges stay below its value here.
local charge_now, charge_then, short = 0, 0, {'short'}
for at = 11 + epochs, #ARGV, 2 do
  local meter, more = ARGV[at], tonumber(ARGV[at + 1])
  local taken = tonumber(lease[meter .. ':q']) + tonumber(lease[meter .. ':h'])
  local allowance = tonumber(lease[meter .. ':x'])
  if allowance and taken + more > allowance then
    return {'exhausted', meter, math.max(0, allowance - taken), more}
  end
  if allowance and taken + more > tonumber(lease[meter .. ':l']) then
    short[#short + 1] = meter
    short[#short + 1] = taken + more
  end
  charge_now = charge_now + price(lease, meter, taken)
  charge_then = charge_then + price(lease, meter, taken + more)
end
if charge_then > charge_now and charge_then > tonumber(lease['charge:x']) then
  return {'exhausted', 'spend cap', math.max(0, tonumber(lease['charge:x']) - charge_now), charge_then - charge_now}
end
if charge_then > tonumber(lease['charge:l']) then
  short[#short + 1] = 'charge'
  short[#short + 1] = charge_then
end
if #short > 1 then return short end

local hold = { 'lease_key', lease_key, 'lease', ARGV[1], 'live', live, 'facts', ARGV[9], 'puts_out', ARGV[10],
  'bucket', bucket, 'tokens', per_minute.tokens > 0 and wanted.tokens or 0 }
for at = 11 + epochs, #ARGV, 2 do
  hold[#hold + 1] = 'u:' .. ARGV[at]
  hold[#hold + 1] = ARGV[at + 1]
  redis.call('HINCRBY', lease_key, ARGV[at] .. ':h', ARGV[at + 1])
end
redis.call('HSET', hold_key, unpack(hold))
redis.call('ZADD', holds, now + tonumber(ARGV[4]), ARGV[2])
redis.call('SADD', live, ARGV[2])
redis.call('ZADD', leases, now, string.sub(lease_key, 7)) -- after "lease:"
for _, scope in ipairs({ 'requests', 'tokens' }) do
  if per_minute[scope] > 0 then left[scope] = left[scope] - wanted[scope] * SCALE end
end
redis.call('HSET', bucket, 'requests', left.requests, 'tokens', left.tokens, 'at', now)
redis.call('PEXPIRE', bucket, 61000) -- by then it is full, like a bucket that does not exist
return windows()
