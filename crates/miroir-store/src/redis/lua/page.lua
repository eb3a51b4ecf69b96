-- ARGV[2]: the query as JSON. Returns the total, where the next page begins, and number, indexes and body of each task.
local query = cjson.decode(ARGV[2])
local found, total = find(query, query.limit + 1)
local next = false
if #found > query.limit then next = table.remove(found)[1] end
local page = {}
for _, task in ipairs(found) do
  local label, body = told(task[1], task[2])
  page[#page + 1] = task[1]
  page[#page + 1] = label
  page[#page + 1] = body
end
return { total, next, page }
