-- Finding tasks. Filters over indexes, kind and status choose groups; without other filters the groups' sizes add up to
-- the total, and only chunks with tasks of these groups are read. Filters over times read the chunks whose zones neither
-- lie inside nor outside. Lists of numbers are looked up one by one.
local FEW = 16

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, item in ipairs(list) do
    set[item] = true
  end
  return set
end

local function choose(query)
  local chosen = { ids = {}, list = {}, size = 0, all = true }
  local indexes, kinds, statuses = set_of(query.indexes), set_of(query.kinds), set_of(query.statuses)
  local filtered = indexes or kinds or statuses or query.begun or query.final
  local sizes = call('HGETALL', P .. 'tasks:sizes')
  local named = {}
  if filtered then
    local groups = call('HGETALL', P .. 'tasks:groups')
    for i = 1, #groups, 2 do
      named[groups[i]] = groups[i + 1]
    end
  end
  for i = 1, #sizes, 2 do
    local passes = true
    if filtered then
      local label, kind, status, begun, final = string.match(named[sizes[i]], '^(%S*) (%S+) (%S+) ([01])([01])$')
      passes = (not kinds or kinds[kind]) and (not statuses or statuses[status])
        and (not query.begun or begun == '1') and (not query.final or final == '1')
      if passes and indexes then
        passes = false
        for name in string.gmatch(label, '[^,]+') do
          passes = passes or indexes[name]
        end
      end
    end
    if passes then
      local group = tonumber(sizes[i])
      chosen.ids[group] = true
      chosen.list[#chosen.list + 1] = sizes[i]
      chosen.size = chosen.size + sizes[i + 1]
    else
      chosen.all = false
    end
  end
  return chosen
end

-- The ranges that leave something out.
local function bounded(query)
  local ranges = {}
  for which, range in ipairs(query.ranges) do
    if range.after or range.before then
      ranges[#ranges + 1] = { which = which - 1, after = range.after, before = range.before }
    end
  end
  return ranges
end

local function within(rows, at, ranges)
  for _, range in ipairs(ranges) do
    local second, nano = time_in(rows, at, range.which)
    if nano == NEVER then return false end
    local after, before = range.after, range.before
    if after and (second < after[1] or (second == after[1] and nano <= after[2])) then return false end
    if before and (second > before[1] or (second == before[1] and nano >= before[2])) then return false end
  end
  return true
end

-- Whether the ranges hold all tasks of a zone, and whether they hold none.
local function relation(zone, ranges)
  local all = true
  for _, range in ipairs(ranges) do
    local first = 1 + 3 * range.which
    local count, least, most = zone[first], zone[first + 1], zone[first + 2]
    local after, before = range.after, range.before
    if count == 0 or (after and most < after[1]) or (before and least > before[1]) then return false, true end
    all = all and count == zone[1] and (not after or least > after[1]) and (not before or most < before[1])
  end
  return all, false
end

-- How many tasks of a chunk are in the chosen groups.
local function members(chunk, chosen)
  local sum = 0
  if #chosen.list <= FEW then
    for _, count in ipairs(call('HMGET', part(chunk, 'groups'), unpack(chosen.list))) do
      sum = sum + (count or 0)
    end
  else
    local counts = call('HGETALL', part(chunk, 'groups'))
    for i = 1, #counts, 2 do
      if chosen.ids[tonumber(counts[i])] then sum = sum + counts[i + 1] end
    end
  end
  return sum
end

local function candidates(query)
  if not query.canceled_by then return query.uids end
  local found = {}
  local uids = set_of(query.uids)
  for _, canceler in ipairs(query.canceled_by) do
    for _, uid in ipairs(call('ZRANGEBYSCORE', P .. 'tasks:canceled', canceler, canceler)) do
      uid = tonumber(uid)
      if not uids or uids[uid] then found[#found + 1] = uid end
    end
  end
  return found
end

local function looked_up(query, chosen, ranges, wanted, reached)
  local found, total = {}, 0
  for _, uid in ipairs(candidates(query)) do
    local row = row_of(uid)
    if row and chosen.ids[group_in(row, 1)] and within(row, 1, ranges) then
      total = total + 1
      if reached(uid) then found[#found + 1] = { uid, group_in(row, 1) } end
    end
  end
  table.sort(found, function(a, b)
    if query.reverse then return a[1] < b[1] end
    return a[1] > b[1]
  end)
  for i = #found, wanted + 1, -1 do
    found[i] = nil
  end
  return found, total
end

-- Read a chunk in the order of the page. Returns how many match.
local function scan(chunk, query, chosen, ranges, wanted, reached, found)
  local rows = call('GET', part(chunk, 'rows'))
  local matching = 0
  local first, last, step = CHUNK - 1, 0, -1
  if query.reverse then first, last, step = 0, CHUNK - 1, 1 end
  for slot = first, last, step do
    local at = slot * ROW + 1
    local group = group_in(rows, at)
    if chosen.ids[group] and within(rows, at, ranges) then
      matching = matching + 1
      local uid = chunk * CHUNK + slot
      if #found < wanted and reached(uid) then found[#found + 1] = { uid, group } end
      if #found == wanted and #ranges == 0 then return matching end
    end
  end
  return matching
end

-- At most `wanted` tasks, as pairs of number and group, and how many match in all. With `below`, only tasks of lower
-- numbers are found, and the total is not to be relied on.
local function find(query, wanted)
  local chosen = choose(query)
  local found, total = {}, 0
  if #chosen.list == 0 then return found, total end
  local ranges = bounded(query)
  local from, below = query.from, query.below
  local function reached(uid)
    if below and uid >= below then return false end
    if not from then return true end
    if query.reverse then return uid >= from end
    return uid <= from
  end
  if query.uids or query.canceled_by then return looked_up(query, chosen, ranges, wanted, reached) end

  local dated = #ranges > 0
  local zones = {}
  if dated then
    local kept = call('HGETALL', P .. 'tasks:zones')
    for i = 1, #kept, 2 do
      zones[tonumber(kept[i])] = kept[i + 1]
    end
  else
    total = chosen.size
  end
  local begins = from and place(from)
  local order = call(query.reverse and 'ZRANGE' or 'ZREVRANGE', P .. 'tasks:chunks', 0, -1)
  for _, name in ipairs(order) do
    local chunk = tonumber(name)
    local full = #found >= wanted
    if full and (not dated or below) or (below and chunk * CHUNK >= below) then break end
    local on_page = not full and (not begins or (query.reverse and chunk >= begins) or (not query.reverse and chunk <= begins))
    local all, none = true, false
    if dated then
      local zone = cmsgpack.unpack(zones[chunk])
      all, none = relation(zone, ranges)
      if all then total = total + (chosen.all and zone[1] or members(chunk, chosen)) end
    end
    if not none and (on_page or not all) and (chosen.all or members(chunk, chosen) > 0) then
      local unsure = all and {} or ranges
      local matching = scan(chunk, query, chosen, unsure, wanted, reached, found)
      if not all then total = total + matching end
    end
  end
  return found, total
end
