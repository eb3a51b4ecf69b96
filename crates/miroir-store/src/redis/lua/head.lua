-- Begins every script. ARGV[1] is what our keys begin with.
local P = ARGV[1]
local call = redis.call

-- A whole number in digits; Lua would write a large one with an exponent.
local function digits(number)
  return string.format('%.0f', number)
end

-- Milliseconds since 1970.
local function now()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
