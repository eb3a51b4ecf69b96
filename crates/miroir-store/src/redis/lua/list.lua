-- ARGV[2]: a table. Returns key and record in turn.
local keys = call('ZRANGE', P .. '_index:' .. ARGV[2], 0, -1)
local found = {}
for _, key in ipairs(keys) do
  local record = call('GET', P .. ARGV[2] .. ':' .. key)
  if record then
    found[#found + 1] = key
    found[#found + 1] = record
  end
end
return found
