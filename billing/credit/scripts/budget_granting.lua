-- Tell Redis what Postgres has granted of a budget, which only rises, or what the budget is now.
-- KEYS: budget. ARGV: granted or '', allowed or ''
if redis.call('HGET', KEYS[1], 'run') ~= RUN then return 0 end
if ARGV[1] ~= '' and tonumber(ARGV[1]) > tonumber(redis.call('HGET', KEYS[1], 'l')) then
  redis.call('HSET', KEYS[1], 'l', ARGV[1])
end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], 'x', ARGV[2]) end
return 1
