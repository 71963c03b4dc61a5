-- How a lease looks in its hash, shared by the scripts that read it.
local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function read_hash(key)
  local flat, hash = redis.call('HGETALL', key), {}
  for at = 1, #flat, 2 do hash[flat[at]] = flat[at + 1] end
  return hash
end

-- Only the run of Redis for which Postgres opened the lease may use it: what a restart brings back from
-- disk may be older than what has been spent.
local function is_open(lease, id)
  return lease.lease == id and lease.run == RUN
end

local function price(lease, meter, units)
  return cumulative(units, tonumber(lease[meter .. ':i']), tonumber(lease[meter .. ':a']), tonumber(lease[meter .. ':p']))
end
