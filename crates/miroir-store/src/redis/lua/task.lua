-- ARGV[2]: a number. Returns indexes and body of the task.
local uid = tonumber(ARGV[2])
local row = row_of(uid)
if not row then return false end
return { told(uid, group_in(row, 1)) }
