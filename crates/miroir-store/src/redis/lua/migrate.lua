-- One step from schema FROM to schema TO, which is done only where the store is at FROM. Returns where it is, and the time.
local found = tonumber(call('GET', P .. '_schema') or 0)
if found == FROM then
  migrate()
  call('SET', P .. '_schema', TO)
  found = TO
end
return { found, now() }
