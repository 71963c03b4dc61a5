-- Take back the charge of a call whose end nobody can have received. The units go from the end of what the period has
-- settled, wherever the call had its place: so the charges of the period still sum to R of what is left.
-- KEYS: undelivered calls, lease, usage stream, then budgets
-- ARGV: request, reversal, lease id, facts, packed quantities, extra facts, then meter and units, ...
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 'none' end
local lease = read_hash(KEYS[2])
if not is_open(lease, ARGV[3]) then return 'closed' end
local rated, charge = {}, 0
for at = 7, #ARGV, 2 do
  local meter = ARGV[at]
  local before = tonumber(lease[meter .. ':q'])
  local back = math.min(before, tonumber(ARGV[at + 1]))
  local cost = price(lease, meter, before - back) - price(lease, meter, before)
  redis.call('HINCRBY', KEYS[2], meter .. ':q', 0 - back)
  rated[#rated + 1] = string.format('%s %.0f %.0f %.0f', meter, before, 0 - back, cost)
  charge = charge + cost
end
for index = 4, #KEYS do
  if redis.call('HGET', KEYS[index], 'run') == RUN then redis.call('HINCRBY', KEYS[index], 'q', charge) end
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[3], '*', 'i', ARGV[2], 'f', ARGV[4], 'o', 'reversed', 't', string.format('%.0f', now_ms()),
  'q', ARGV[5], 'r', table.concat(rated, ','), 'c', string.format('%.0f', charge), 'x', ARGV[6])
return 'reversed'
