-- Record calls as failed that were admitted and that Redis has forgotten since. Answers those that it has not: their
-- holds are there, and they will end like all others.
-- KEYS: usage stream, then the hold of each. ARGV: extra facts, packed quantities, then request, facts, ...
local alive = {}
for index = 2, #KEYS do
  local request, facts = ARGV[2 * index - 1], ARGV[2 * index]
  if redis.call('EXISTS', KEYS[index]) == 1 then
    alive[#alive + 1] = request
  else
    redis.call('XADD', KEYS[1], '*', 'i', request, 'f', facts, 'o', 'failed', 't', string.format('%.0f', now_ms()),
      'q', ARGV[2], 'r', '', 'c', '0', 'x', ARGV[1])
  end
end
return alive
