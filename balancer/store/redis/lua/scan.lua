-- Looks for tasks, newest first. KEYS[1] the part; ARGV: below which place, how many, status, group and
-- function ("" for any), and how many tasks to look at before others get their turn.
-- Returns the place it came down to ("" at the end), then id and place of each that was found.

local part, below, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
local status, group, name, budget = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local any = status == '' and group == '' and name == ''
local found = {''}
local page = redis.call('ZREVRANGEBYSCORE', part .. ':all', '(' .. below, '-inf', 'WITHSCORES', 'LIMIT', 0,
  any and limit or budget)
for n = 1, #page, 2 do
  local id, place, fits = page[n], page[n + 1], any
  if not any then
    local task = redis.call('HMGET', part .. ':t:' .. id, 'st', 'lane')
    local first, last = string.match(task[2] or '', '^(.-)\n%d+\n(.*)$')
    fits = (status == '' or status == task[1]) and (group == '' or group == first) and (name == '' or name == last)
  end
  if fits then
    found[#found + 1], found[#found + 2] = id, place
    if (#found - 1) / 2 >= limit then return found end
  end
end
if not any and #page == budget * 2 then found[1] = page[#page] end
return found
