-- Changing tasks. Whoever does ends with save().
local zones, thinned = {}, {}

local function zone(chunk)
  local zone = zones[chunk]
  if not zone then
    local kept = call('HGET', P .. 'tasks:zones', chunk)
    zone = kept and cmsgpack.unpack(kept) or { 0, LATE, EARLY, 0, LATE, EARLY, 0, LATE, EARLY }
    zones[chunk] = zone
  end
  return zone
end

-- Count the times of a row in, or (by = -1) out.
local function tally(zone, rows, at, by)
  for which = 0, 2 do
    local second, nano = time_in(rows, at, which)
    if nano ~= NEVER then
      local first = 1 + 3 * which
      zone[first] = zone[first] + by
      if by > 0 then
        zone[first + 1] = math.min(zone[first + 1], second)
        zone[first + 2] = math.max(zone[first + 2], second)
      end
    end
  end
end

local function group_id(text)
  local group = call('HGET', P .. 'tasks:group_ids', text)
  if group then return tonumber(group) end
  group = call('HINCRBY', P .. '_counters', 'group', 1)
  call('HSET', P .. 'tasks:groups', group, text)
  call('HSET', P .. 'tasks:group_ids', text, group)
  texts[group] = text
  return group
end

local function join(group, chunk)
  call('HINCRBY', P .. 'tasks:sizes', group, 1)
  call('HINCRBY', part(chunk, 'groups'), group, 1)
end

local function leave(group, chunk)
  if call('HINCRBY', part(chunk, 'groups'), group, -1) == 0 then
    call('HDEL', part(chunk, 'groups'), group)
  end
  if call('HINCRBY', P .. 'tasks:sizes', group, -1) == 0 then
    local text = group_text(group)
    call('HDEL', P .. 'tasks:sizes', group)
    call('HDEL', P .. 'tasks:groups', group)
    call('HDEL', P .. 'tasks:group_ids', text)
    texts[group] = nil
  end
end

local function file(uid, final, canceler)
  if final then
    call('ZREM', P .. 'tasks:unsettled', uid)
  else
    call('ZADD', P .. 'tasks:unsettled', uid, uid)
  end
  if canceler ~= '' then
    call('ZADD', P .. 'tasks:canceled', canceler, uid)
  else
    call('ZREM', P .. 'tasks:canceled', uid)
  end
end

-- `tail` is a group's text without the indexes.
local function add_task(uid, label, tail, canceler, times, body)
  local chunk, slot = place(uid)
  local of = zone(chunk)
  call('HSET', part(chunk, 'bodies'), slot, body)
  if of[1] == 0 then
    -- The last row first: so the rows are allocated once and exactly.
    call('SETRANGE', part(chunk, 'rows'), (CHUNK - 1) * ROW, EMPTY)
    call('ZADD', P .. 'tasks:chunks', chunk, chunk)
  end
  local group = group_id(label .. ' ' .. tail)
  local row = struct.pack('>I5', group) .. times
  call('SETRANGE', part(chunk, 'rows'), slot * ROW, row)
  join(group, chunk)
  tally(of, row, 1, 1)
  file(uid, string.sub(tail, -1) == '1', canceler)
end

-- One that was pruned stays away, and a final task is never replaced by one that is not.
local function replace_task(uid, tail, canceler, times, body)
  local old = row_of(uid)
  if not old then return end
  local before = group_in(old, 1)
  local text = group_text(before)
  local final = string.sub(tail, -1) == '1'
  if string.sub(text, -1) == '1' and not final then return end
  local chunk, slot = place(uid)
  local of = zone(chunk)
  call('HSET', part(chunk, 'bodies'), slot, body)
  local after = group_id(label_of(text) .. ' ' .. tail)
  if after ~= before then
    join(after, chunk)
    leave(before, chunk)
  end
  local row = struct.pack('>I5', after) .. times
  call('SETRANGE', part(chunk, 'rows'), slot * ROW, row)
  tally(of, old, 1, -1)
  tally(of, row, 1, 1)
  file(uid, final, canceler)
end

-- The body goes first: when memory is full, only what gives some back may begin to write.
local function remove_task(uid)
  local chunk, slot = place(uid)
  local row = row_of(uid)
  call('HDEL', part(chunk, 'bodies'), slot)
  call('SETRANGE', part(chunk, 'rows'), slot * ROW, EMPTY)
  leave(group_in(row, 1), chunk)
  call('ZREM', P .. 'tasks:unsettled', uid)
  call('ZREM', P .. 'tasks:canceled', uid)
  zone(chunk)
  thinned[chunk] = true
end

local function measured(chunk)
  local zone = { 0, LATE, EARLY, 0, LATE, EARLY, 0, LATE, EARLY }
  local rows = call('GET', part(chunk, 'rows'))
  for at = 1, #rows, ROW do
    if group_in(rows, at) ~= 0 then tally(zone, rows, at, 1) end
  end
  return zone
end

local function save()
  for chunk, zone in pairs(zones) do
    if thinned[chunk] then zone = measured(chunk) end
    if zone[1] == 0 then
      call('DEL', part(chunk, 'rows'), part(chunk, 'bodies'), part(chunk, 'groups'))
      call('HDEL', P .. 'tasks:zones', chunk)
      call('ZREM', P .. 'tasks:chunks', chunk)
    else
      call('HSET', P .. 'tasks:zones', chunk, cmsgpack.pack(zone))
    end
  end
end

-- Two indexes change names on all their tasks.
local function exchange(a, b)
  local groups = call('HGETALL', P .. 'tasks:groups')
  local changed = {}
  for i = 1, #groups, 2 do
    local label, tail = string.match(groups[i + 1], '^(%S*) (.*)$')
    local hit = false
    local exchanged = string.gsub(label, '[^,]+', function(name)
      if name == a then
        hit = true
        return b
      elseif name == b then
        hit = true
        return a
      end
    end)
    if hit then changed[#changed + 1] = { groups[i], groups[i + 1], exchanged .. ' ' .. tail } end
  end
  -- In two steps: what one group is called now may be what another was called before.
  for _, group in ipairs(changed) do
    call('HDEL', P .. 'tasks:group_ids', group[2])
  end
  for _, group in ipairs(changed) do
    call('HSET', P .. 'tasks:groups', group[1], group[3])
    call('HSET', P .. 'tasks:group_ids', group[3], group[1])
  end
  texts = {}
end
