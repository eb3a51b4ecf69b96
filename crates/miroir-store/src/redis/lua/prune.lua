-- ARGV[2] and ARGV[3]: second and nanosecond; ARGV[4]: how many. Forgets the final tasks that finished before and first.
local second, nano, limit = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local chosen = choose({ final = true })
local ranges = bounded({ ranges = { {}, {}, { before = { second, nano } } } })

-- Chunks by when their first task finished.
local chunks = {}
local kept = call('HGETALL', P .. 'tasks:zones')
for i = 1, #kept, 2 do
  local zone = cmsgpack.unpack(kept[i + 1])
  local _, none = relation(zone, ranges)
  if not none then chunks[#chunks + 1] = { tonumber(kept[i]), zone[8] } end
end
table.sort(chunks, function(a, b) return a[2] < b[2] end)

local function sooner(a, b)
  if a[2] ~= b[2] then return a[2] < b[2] end
  if a[3] ~= b[3] then return a[3] < b[3] end
  return a[1] < b[1]
end

local found = {}
for _, chunk in ipairs(chunks) do
  -- Later chunks have nothing sooner.
  if #found >= limit and (limit == 0 or chunk[2] > found[limit][2]) then break end
  local rows = call('GET', part(chunk[1], 'rows'))
  for slot = 0, CHUNK - 1 do
    local at = slot * ROW + 1
    if chosen.ids[group_in(rows, at)] and within(rows, at, ranges) then
      local finished, fraction = time_in(rows, at, 2)
      found[#found + 1] = { chunk[1] * CHUNK + slot, finished, fraction }
    end
  end
  if #found >= limit then
    table.sort(found, sooner)
    for i = #found, limit + 1, -1 do
      found[i] = nil
    end
  end
end
for _, task in ipairs(found) do
  remove_task(task[1])
end
save()
return #found
