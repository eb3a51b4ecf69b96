-- ARGV: 1 for those that have ended. Returns scope, holder, token and the milliseconds that are left, in turn.
local time = now()
local ended = ARGV[2] == '1'
local held = {}
local leases = call('HGETALL', P .. '_leases')
for i = 1, #leases, 2 do
  local token, ends, holder = string.match(leases[i + 1], '^(%d+) (%d+) (.*)$')
  if (tonumber(ends) <= time) == ended then
    held[#held + 1] = leases[i]
    held[#held + 1] = holder
    held[#held + 1] = tonumber(token)
    held[#held + 1] = math.max(tonumber(ends) - time, 0)
  end
end
return held
