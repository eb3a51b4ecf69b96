-- Returns scope, holder, token and the milliseconds that are left, in turn.
local time = now()
local held = {}
local leases = call('HGETALL', P .. '_leases')
for i = 1, #leases, 2 do
  local token, ends, holder = string.match(leases[i + 1], '^(%d+) (%d+) (.*)$')
  if tonumber(ends) > time then
    held[#held + 1] = leases[i]
    held[#held + 1] = holder
    held[#held + 1] = tonumber(token)
    held[#held + 1] = tonumber(ends) - time
  end
end
return held
