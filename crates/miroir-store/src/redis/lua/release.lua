-- ARGV: scope, token.
local scope, token = ARGV[2], ARGV[3]
local lease = call('HGET', P .. '_leases', scope)
if not lease or string.match(lease, '^%d+') ~= token then return 0 end
call('HDEL', P .. '_leases', scope)
call('ZREM', P .. '_lease_ends', scope)
call('PUBLISH', P .. '_changes', cjson.encode({ { 'released', scope } }))
return 1
