-- ARGV: scope, token, milliseconds. Returns whether the lease is still theirs.
local scope, token, ttl = ARGV[2], ARGV[3], tonumber(ARGV[4])
local lease = call('HGET', P .. '_leases', scope)
if not lease then return 0 end
local kept, _, holder = string.match(lease, '^(%d+) (%d+) (.*)$')
if kept ~= token then return 0 end
local ends = digits(now() + ttl)
call('HSET', P .. '_leases', scope, token .. ' ' .. ends .. ' ' .. holder)
call('ZADD', P .. '_lease_ends', ends, scope)
return 1
