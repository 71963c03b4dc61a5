-- Tell Redis what Postgres has granted. Limits only rise; allowances are what Postgres says now, or '' if that
-- was not asked.
-- KEYS: lease. ARGV: lease id, then limit, granted, allowed, ...
if not is_open(read_hash(KEYS[1]), ARGV[1]) then return 0 end
for at = 2, #ARGV, 3 do
  local field = ARGV[at] .. ':l'
  local granted = math.max(tonumber(redis.call('HGET', KEYS[1], field)), tonumber(ARGV[at + 1]))
  redis.call('HSET', KEYS[1], field, granted)
  if ARGV[at + 2] ~= '' then redis.call('HSET', KEYS[1], ARGV[at] .. ':x', ARGV[at + 2]) end
end
return 1
