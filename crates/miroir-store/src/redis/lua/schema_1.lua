-- The first schema: there is nothing to bring along.
local FROM, TO = 0, 1

local function migrate() end
