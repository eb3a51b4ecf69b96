-- Leases lie in the hash _leases: scope -> "<token> <end> <holder>".

-- Whether this holder has the scope by this token, ended or not: nobody has taken it since.
local function held(scope, token, holder)
  local lease = call('HGET', P .. '_leases', scope)
  if not lease then return false end
  local kept, _, by = string.match(lease, '^(%d+) (%d+) (.*)$')
  return kept == token and by == holder
end
