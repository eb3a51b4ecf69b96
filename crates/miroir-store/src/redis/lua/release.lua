-- ARGV: scope, token, holder.
local scope = ARGV[2]
if not held(scope, ARGV[3], ARGV[4]) then return 0 end
call('HDEL', P .. '_leases', scope)
call('ZREM', P .. '_lease_ends', scope)
call('PUBLISH', P .. '_changes', cjson.encode({ { 'released', scope } }))
return 1
