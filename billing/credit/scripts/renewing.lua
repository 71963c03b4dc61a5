-- Move the deadlines of live holds. Answers the requests that have none left.
-- KEYS: holds. ARGV: hold (ms), requests ...
local deadline, gone = now_ms() + tonumber(ARGV[1]), {}
for at = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[at]) then
    redis.call('ZADD', KEYS[1], deadline, ARGV[at])
  else
    gone[#gone + 1] = ARGV[at]
  end
end
return gone
