-- Tasks lie in chunks of consecutive numbers:
--   tasks:<chunk>:rows    one row of fixed width for each number: its group, and three times (see row.rs)
--   tasks:<chunk>:bodies  a hash: slot -> the task as JSON
--   tasks:<chunk>:groups  a hash: group -> how many of the chunk's tasks are in it
--   tasks:chunks          a sorted set of the chunks that have tasks
--   tasks:zones           a hash: chunk -> how many tasks, and between which seconds each of their times lies
-- and in groups: tasks that agree in their indexes, kind and status:
--   tasks:groups          a hash: group -> "<indexes> <kind> <status> <begun><final>"
--   tasks:group_ids       the other way round
--   tasks:sizes           a hash: group -> how many tasks it has; one without any is forgotten
-- and beside them:
--   tasks:unsettled       a sorted set of the numbers of tasks that are not final
--   tasks:canceled        a sorted set of the numbers of canceled tasks, by their canceler
--
-- Invariant: a zone's counts are exact; its bounds hold every time of the chunk and may be too wide.
local CHUNK, ROW = 500, 32
local EMPTY = string.rep('\0', ROW)
-- The nanosecond of a time that there is not.
local NEVER = 4294967295
local LATE, EARLY = 1e15, -1e15

local function place(uid)
  local slot = uid % CHUNK
  return (uid - slot) / CHUNK, slot
end

local function part(chunk, name)
  return P .. 'tasks:' .. chunk .. ':' .. name
end

local function row_of(uid)
  local chunk, slot = place(uid)
  local row = call('GETRANGE', part(chunk, 'rows'), slot * ROW, slot * ROW + ROW - 1)
  if #row < ROW or row == EMPTY then return nil end
  return row
end

local function group_in(rows, at)
  return (struct.unpack('>I5', rows, at))
end

-- Second and nanosecond of one of the times (0 enqueued, 1 started, 2 finished) in the row that begins at `at`.
local function time_in(rows, at, which)
  return struct.unpack('>i5I4', rows, at + 5 + 9 * which)
end

local texts = {}

local function group_text(group)
  local text = texts[group]
  if not text then
    text = call('HGET', P .. 'tasks:groups', group)
    texts[group] = text
  end
  return text
end

local function label_of(text)
  return string.match(text, '^%S*')
end

-- What a reader needs of a task: its indexes and its body.
local function told(uid, group)
  local chunk, slot = place(uid)
  local text = group_text(group)
  return text and label_of(text) or '', call('HGET', part(chunk, 'bodies'), slot) or ''
end
