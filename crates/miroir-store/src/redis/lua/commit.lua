-- A batch: all of it or nothing. ARGV[2] is the millisecond after which nobody waits for the answer any more; then come
-- lists, each with its length first (see commit.rs). Every condition is judged before the first write.
local at = 2

local function take()
  at = at + 1
  return ARGV[at]
end

local function list(width)
  local items = {}
  for i = 1, tonumber(take()) do
    local item = {}
    for j = 1, width do
      item[j] = take()
    end
    items[i] = item
  end
  return items
end

local fences, renamed, writes = list(3), list(2), list(6)
local new_tasks, settled = list(5), list(5)
local counts, appends, forgotten = list(2), list(2), list(1)

local time = now()
if time > tonumber(ARGV[2]) then return { 'late', time } end
for i, fence in ipairs(fences) do
  if not held(fence[1], fence[2], fence[3]) then return { 'fenced', time, i } end
end

local base = tonumber(call('HGET', P .. '_counters', 'version') or 0)
local puts = 0
-- The versions that records will have, as far as the batch has been judged; false: no record.
local becoming = {}
for i, write in ipairs(writes) do
  local operation, name, ttl, expected = write[1], write[2] .. ':' .. write[3], write[5], write[6]
  if expected ~= '' then
    local version = becoming[name]
    if version == nil then
      local record = call('GET', P .. name)
      version = record and string.match(record, '^%d+')
    end
    if (version or 'none') ~= expected then return { 'conflict', time, i } end
  end
  if operation == 'put' then
    puts = puts + 1
    becoming[name] = ttl ~= '0' and digits(base + puts)
  else
    becoming[name] = false
  end
end

local sums = {}
for _, counter in ipairs(forgotten) do
  sums[counter[1]] = 0
end
for i, count in ipairs(counts) do
  local sum = (sums[count[1]] or tonumber(call('HGET', P .. '_counts', count[1]) or 0)) + tonumber(count[2])
  if sum > 9007199254740991 then return { 'overflow', time, i } end
  sums[count[1]] = sum
end

-- From here on nothing can fail.
for _, pair in ipairs(renamed) do
  exchange(pair[1], pair[2])
end

local changes, versions = {}, {}
for i, write in ipairs(writes) do
  local operation, of, key, value, ttl = write[1], write[2], write[3], write[4], write[5]
  local name = of .. ':' .. key
  versions[i] = false
  if operation == 'put' then
    base = base + 1
    versions[i] = base
    if ttl == '' then
      call('SET', P .. name, digits(base) .. ' 0\n' .. value)
      call('ZREM', P .. '_expiring', name)
    else
      local ends = time + tonumber(ttl)
      call('SET', P .. name, digits(base) .. ' ' .. digits(ends) .. '\n' .. value)
      -- Redis keeps a key through its last millisecond; ours is gone at it.
      call('PEXPIREAT', P .. name, digits(ends - 1))
      call('ZADD', P .. '_expiring', digits(ends), name)
    end
    call('ZADD', P .. '_index:' .. of, 0, key)
    changes[#changes + 1] = { 'record', of, key, digits(base) }
  else
    call('DEL', P .. name)
    call('ZREM', P .. '_index:' .. of, key)
    call('ZREM', P .. '_expiring', name)
    changes[#changes + 1] = { 'record', of, key }
  end
end
if puts > 0 then call('HSET', P .. '_counters', 'version', digits(base)) end

local first = 0
if #new_tasks > 0 then
  first = call('HINCRBY', P .. '_counters', 'task', #new_tasks) - #new_tasks
  for i, task in ipairs(new_tasks) do
    add_task(first + i - 1, unpack(task))
  end
end
for _, task in ipairs(settled) do
  replace_task(tonumber(task[1]), unpack(task, 2))
end
save()
if #new_tasks + #settled + #renamed > 0 then changes[#changes + 1] = { 'tasks' } end

for _, counter in ipairs(forgotten) do
  call('HDEL', P .. '_counts', counter[1])
end
local stands = {}
for i, count in ipairs(counts) do
  stands[i] = call('HINCRBY', P .. '_counts', count[1], count[2])
end
local positions = {}
for i, append in ipairs(appends) do
  positions[i] = call('HINCRBY', P .. '_logs', append[1], 1)
  call('XADD', P .. '_log:' .. append[1], digits(positions[i]) .. '-0', 'v', append[2])
  changes[#changes + 1] = { 'log', append[1] }
end

-- In passing: Redis has removed what expired, but not its name from the list of names.
for _, name in ipairs(call('ZRANGEBYSCORE', P .. '_expiring', '-inf', digits(time), 'LIMIT', 0, 64)) do
  if call('EXISTS', P .. name) == 0 then
    local of, key = string.match(name, '^([^:]*):(.*)$')
    call('ZREM', P .. '_index:' .. of, key)
    call('ZREM', P .. '_expiring', name)
  end
end

if #changes > 512 then changes = { { 'everything' } } end
if #changes > 0 then call('PUBLISH', P .. '_changes', cjson.encode(changes)) end
return { 'done', time, first, versions, stands, positions }
