-- ARGV: 1 for those that have ended. Returns scope, holder, token and the milliseconds that are left, in turn. Only leases of that
-- kind are read: who looks every second for what has ended pays nothing for what is held.
local time = now()
local from, to = '(' .. digits(time), '+inf'
if ARGV[2] == '1' then
  from, to = '-inf', digits(time)
end
local found = {}
for _, scope in ipairs(call('ZRANGEBYSCORE', P .. '_lease_ends', from, to)) do
  local lease = call('HGET', P .. '_leases', scope)
  if lease then
    local token, ends, holder = string.match(lease, '^(%d+) (%d+) (.*)$')
    found[#found + 1] = scope
    found[#found + 1] = holder
    found[#found + 1] = tonumber(token)
    found[#found + 1] = math.max(tonumber(ends) - time, 0)
  end
end
return found
