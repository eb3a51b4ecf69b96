-- ARGV: scope, holder, milliseconds. Returns the token, and the milliseconds since a lease ended that nobody gave back, or
-- less than none.
local scope, holder, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4])
local time = now()
local lease = call('HGET', P .. '_leases', scope)
local token
local lapsed = -1
if lease then
  local kept, ends, by = string.match(lease, '^(%d+) (%d+) (.*)$')
  lapsed = math.max(time - tonumber(ends), 0)
  if tonumber(ends) > time then
    if by ~= holder then
      call('PUBLISH', P .. '_changes', cjson.encode({ { 'wanted', scope } }))
      return false
    end
    token = tonumber(kept)
  end
end
if not token then
  -- By the microsecond, so that one that was given and then lost with this Redis's last second is not given again.
  local instant = call('TIME')
  local last = tonumber(call('HGET', P .. '_counters', 'token') or 0)
  token = math.max(last + 1, instant[1] * 1000000 + instant[2])
  call('HSET', P .. '_counters', 'token', digits(token))
end
local ends = digits(time + ttl)
call('HSET', P .. '_leases', scope, digits(token) .. ' ' .. ends .. ' ' .. holder)
call('ZADD', P .. '_lease_ends', ends, scope)
-- One that ended and that nobody takes is remembered for a year: for who takes over, also where all instances were away for long.
for _, old in ipairs(call('ZRANGEBYSCORE', P .. '_lease_ends', '-inf', digits(time - 31536000000), 'LIMIT', 0, 64)) do
  call('HDEL', P .. '_leases', old)
  call('ZREM', P .. '_lease_ends', old)
end
return { digits(token), lapsed }
