-- ARGV: scope, token, holder, milliseconds. Returns whether the lease is still theirs.
local scope, token, holder, ttl = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if not held(scope, token, holder) then return 0 end
local ends = digits(now() + ttl)
call('HSET', P .. '_leases', scope, token .. ' ' .. ends .. ' ' .. holder)
call('ZADD', P .. '_lease_ends', ends, scope)
return 1
