-- Admit one call, or say why not. A refusal changes nothing.
-- KEYS: lease, hold, holds, used leases, used budgets, then live and bucket of each scope, each budget, each epoch
-- ARGV: lease id, request, period end (ms), hold (ms), worst tokens, facts, 1 if it may put out tokens,
--       how many scopes, how many budgets, then of each scope requests/min, tokens/min, concurrency (0: none),
--       of each budget its end (ms, 0: none), each epoch's value, then meter and worst units, ...
local lease_key, hold_key, holds, leases, budgets = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local SCALE = 60000 -- bucket levels are in sixty-thousandths, so that a millisecond refills whole numbers
local scope_count, budget_count = tonumber(ARGV[8]), tonumber(ARGV[9])
local first_budget, first_epoch = 5 + 2 * scope_count, 5 + 2 * scope_count + budget_count
local first_end, first_value = 9 + 3 * scope_count, 9 + 3 * scope_count + budget_count
local first_meter = first_value + #KEYS - first_epoch + 1
local now = now_ms()

for at = 1, #KEYS - first_epoch do
  if (redis.call('GET', KEYS[first_epoch + at]) or '0') ~= ARGV[first_value + at] then return {'stale', 'epoch'} end
end
local lease = read_hash(lease_key)
if not is_open(lease, ARGV[1]) then return {'stale', 'lease'} end
if now >= tonumber(ARGV[3]) then return {'stale', 'period'} end
local funds = {}
for at = 1, budget_count do
  local ends = tonumber(ARGV[first_end + at])
  if ends > 0 and now >= ends then return {'stale', 'budget window'} end
  funds[at] = read_hash(KEYS[first_budget + at])
  if funds[at].run ~= RUN then return {'stale', 'budget'} end
end

-- Of each scope: its keys, its limits, and the levels of its buckets.
local KINDS = { 'requests', 'tokens' }
local wanted = { requests = 1, tokens = tonumber(ARGV[5]) }
local function read_scope(index)
  local first = 9 + 3 * (index - 1)
  local scope = { live = KEYS[4 + 2 * index], bucket = KEYS[5 + 2 * index], concurrency = tonumber(ARGV[first + 3]),
    limit = { requests = tonumber(ARGV[first + 1]), tokens = tonumber(ARGV[first + 2]) }, left = {} }
  if scope.limit.requests == 0 and scope.limit.tokens == 0 then return scope end
  local last = read_hash(scope.bucket)
  local elapsed = math.max(0, now - (last.at and tonumber(last.at) or now))
  for _, kind in ipairs(KINDS) do
    local limit = scope.limit[kind]
    local full = limit * SCALE
    scope.left[kind] = last[kind] and math.min(full, tonumber(last[kind]) + limit * elapsed) or full
  end
  return scope
end
local scopes = {}
for index = 1, scope_count do scopes[index] = read_scope(index) end

-- The rate limits with the least left: how much that is, and the milliseconds until it is full again.
local function windows()
  local answer = { 'admitted' }
  for _, kind in ipairs(KINDS) do
    local tightest
    for _, scope in ipairs(scopes) do
      if scope.limit[kind] > 0 and (not tightest or scope.left[kind] < tightest.left[kind]) then tightest = scope end
    end
    local limit, level = tightest and tightest.limit[kind] or 0, tightest and tightest.left[kind] or 0
    answer[#answer + 1] = limit
    answer[#answer + 1] = math.floor(level / SCALE)
    answer[#answer + 1] = limit > 0 and math.ceil((limit * SCALE - level) / limit) or 0
  end
  return answer
end

if redis.call('EXISTS', hold_key) == 1 then return windows() end

-- What limits the call longest is what the caller hears of: waiting for less would be in vain.
local refusal, longest = nil, -1
local function refuse(wait, answer)
  local length = wait == 0 and math.huge or wait
  if length > longest then refusal, longest = answer, length end
end
for index, scope in ipairs(scopes) do
  if scope.concurrency > 0 and redis.call('SCARD', scope.live) >= scope.concurrency then
    refuse(1000, {'limited', index, 'concurrent requests', scope.concurrency, 0, 1000})
  end
  for _, kind in ipairs(KINDS) do
    local limit, cost = scope.limit[kind], wanted[kind] * SCALE
    if limit > 0 and scope.left[kind] < cost then
      local wait = cost > limit * SCALE and 0 or math.ceil((cost - scope.left[kind]) / limit)
      refuse(wait, {'limited', index, kind .. ' per minute', limit, math.floor(scope.left[kind] / SCALE), wait})
    end
  end
end
if refusal then return refusal end

-- The worst case beside everything settled and held. R is monotone, so charges stay below its value here.
-- `bound` is for budgets: other keys' calls may settle first and move this one to dearer units, but
-- never past what its units cost at the full price.
local charge_now, charge_then, bound, short = 0, 0, 0, {'short'}
for at = first_meter, #ARGV, 2 do
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
  if budget_count > 0 then
    bound = bound + most(more, tonumber(lease[meter .. ':a']), tonumber(lease[meter .. ':p']))
  end
end
if charge_then > charge_now and charge_then > tonumber(lease['charge:x']) then
  return {'exhausted', 'spend cap', math.max(0, tonumber(lease['charge:x']) - charge_now), charge_then - charge_now}
end
if charge_then > tonumber(lease['charge:l']) then
  short[#short + 1] = 'charge'
  short[#short + 1] = charge_then
end

-- Of several budgets that are too small, the one that lasts longest: they come with the shortest first.
for at, fund in ipairs(funds) do
  local taken = tonumber(fund.q) + tonumber(fund.h)
  if bound > 0 and taken + bound > tonumber(fund.x) then
    refusal = {'overspent', at, math.max(0, tonumber(fund.x) - taken), bound}
  elseif bound > 0 and taken + bound > tonumber(fund.l) then
    short[#short + 1] = KEYS[first_budget + at]
    short[#short + 1] = taken + bound
  end
end
if refusal then return refusal end
if #short > 1 then return short end

local hold = { 'lease_key', lease_key, 'lease', ARGV[1], 'facts', ARGV[6], 'puts_out', ARGV[7] }
for at = first_meter, #ARGV, 2 do
  hold[#hold + 1] = 'u:' .. ARGV[at]
  hold[#hold + 1] = ARGV[at + 1]
  redis.call('HINCRBY', lease_key, ARGV[at] .. ':h', ARGV[at + 1])
end
if budget_count > 0 then
  local names = {}
  for at = 1, budget_count do
    names[at] = KEYS[first_budget + at]
    redis.call('HINCRBY', names[at], 'h', bound)
    redis.call('ZADD', budgets, now, string.sub(names[at], 8)) -- after "budget:"
  end
  hold[#hold + 1] = 'budgets'
  hold[#hold + 1] = table.concat(names, ' ')
  hold[#hold + 1] = 'bound'
  hold[#hold + 1] = string.format('%.0f', bound)
end
local held = {}
for _, scope in ipairs(scopes) do
  redis.call('SADD', scope.live, ARGV[2])
  local tokens = scope.limit.tokens > 0 and wanted.tokens or 0
  held[#held + 1] = string.format('%s %s %.0f', scope.live, scope.bucket, tokens)
  local levels = {}
  for _, kind in ipairs(KINDS) do
    if scope.limit[kind] > 0 then
      scope.left[kind] = scope.left[kind] - wanted[kind] * SCALE
      levels[#levels + 1] = kind
      levels[#levels + 1] = scope.left[kind]
    end
  end
  if #levels > 0 then
    redis.call('HSET', scope.bucket, 'at', now, unpack(levels))
    redis.call('PEXPIRE', scope.bucket, 61000) -- by then it is full, like a bucket that does not exist
  end
end
redis.call('HSET', hold_key, 'scopes', table.concat(held, ' '), unpack(hold))
redis.call('ZADD', holds, now + tonumber(ARGV[4]), ARGV[2])
redis.call('ZADD', leases, now, string.sub(lease_key, 7)) -- after "lease:"
return windows()
