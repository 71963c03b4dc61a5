-- R(q) of billing/rating.py in exact integers, although Lua has only doubles. Values at or past 2^53
-- saturate there; every limit that they are compared with lies below.
local EXACT = 9007199254740992

-- floor(a * b / m) and what is left over, for 0 <= a, b < m <= 10^15, without ever forming a * b.
local function mul_div(a, b, m)
  if a * b < EXACT then
    local product = a * b
    local over = math.fmod(product, m)
    return (product - over) / m, over
  end
  local quotient, rest, digit = 0, 0, 1
  while digit * 4 <= b do digit = digit * 4 end
  while digit >= 1 do
    local factor = math.floor(b / digit)
    b = b - factor * digit
    rest = rest * 4 + factor * a
    local over = math.fmod(rest, m)
    quotient = quotient * 4 + (rest - over) / m
    rest = over
    digit = digit / 4
  end
  return quotient, rest
end

local function cumulative(units, included, amount, per)
  local billable = units - included
  if billable <= 0 or amount == nil then return 0 end
  local rest = math.fmod(billable, per)
  local whole = (billable - rest) / per * amount
  if whole >= EXACT then return EXACT end
  local odd = math.fmod(amount, per)
  local part = rest * ((amount - odd) / per) + mul_div(rest, odd, per)
  return math.min(whole + part, EXACT)
end

-- The most that so many units can cost, wherever in the period they come: amount * units / per, rounded up.
local function most(units, amount, per)
  if amount == nil then return 0 end
  local floor, rest, odd = cumulative(units, 0, amount, per), math.fmod(units, per), math.fmod(amount, per)
  local _, over = mul_div(rest, odd, per)
  return math.min(floor + (over > 0 and 1 or 0), EXACT)
end
