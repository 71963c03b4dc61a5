-- How a lease looks in its hash, shared by the scripts that read it.
local function now_ms()
  if redis.replicate_commands then redis.replicate_commands() end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function read_hash(key)
  local flat, hash = redis.call('HGETALL', key), {}
  for at = 1, #flat, 2 do hash[flat[at]] = flat[at + 1] end
  return hash
end

-- Only the run of Redis for which Postgres opened the lease may use it: RUN is a constant that each
-- process puts before the script's text, and a restarted Redis has forgotten every script.
local function is_open(lease, id)
  return lease.lease == id and lease.run == RUN
end

local function price(lease, meter, units)
  return cumulative(units, tonumber(lease[meter .. ':i']), tonumber(lease[meter .. ':a']), tonumber(lease[meter .. ':p']))
end
