-- ARGV[2]: the query as JSON, with the bound. Forgets final tasks that match, oldest first; returns how many.
local query = cjson.decode(ARGV[2])
local found = find(query, query.limit)
for _, task in ipairs(found) do
  remove_task(task[1])
end
save()
return #found
