-- ARGV[2]: after which number, as a bound of Redis; ARGV[3]: how many.
local page = {}
for _, uid in ipairs(call('ZRANGEBYSCORE', P .. 'tasks:unsettled', ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])) do
  uid = tonumber(uid)
  local row = row_of(uid)
  if row then
    local label, body = told(uid, group_in(row, 1))
    page[#page + 1] = uid
    page[#page + 1] = label
    page[#page + 1] = body
  end
end
return page
