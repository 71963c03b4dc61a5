-- Stop a budget's lease for good. Answers what it held (-1: Redis has lost it) and where the usage stream
-- stands, or false for one that must stay.
-- KEYS: budget, used budgets, usage stream. ARGV: '' or a time (ms): only if it was not used since and holds nothing
local budget, member = read_hash(KEYS[1]), string.sub(KEYS[1], 8) -- after "budget:"
local is_intact = budget.run == RUN
if ARGV[1] ~= '' then
  local used = redis.call('ZSCORE', KEYS[2], member)
  if used and tonumber(used) > tonumber(ARGV[1]) then return false end
  if is_intact and tonumber(budget.h) > 0 then return false end
  if not is_intact then
    redis.call('ZREM', KEYS[2], member)
    return false
  end
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], member)
local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
return {is_intact and tonumber(budget.h) or -1, last[1] and last[1][1] or '0-0'}
