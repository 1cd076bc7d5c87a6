-- Looks for dead letters. KEYS[1] the part; ARGV: "new" or "old" first, from which place (not itself), how
-- many, kinds (",task,webhook," or ""), group, function, code, since, before ("" for any), and how many to
-- look at before others get their turn.
-- Returns the place it came to ("" at the end), then letter, kind, task, moment, code and place of each.

local part, newest, limit = KEYS[1], ARGV[1] == 'new', tonumber(ARGV[3])
local kinds, group, name, code = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local since, before, budget = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local page
if newest then
  page = redis.call('ZREVRANGEBYSCORE', part .. ':dead', '(' .. ARGV[2], '-inf', 'LIMIT', 0, budget)
else
  page = redis.call('ZRANGEBYSCORE', part .. ':dead', '(' .. ARGV[2], '+inf', 'LIMIT', 0, budget)
end
local found, last = {''}, ''
for n = 1, #page do
  local held = cmsgpack.unpack(redis.call('HGET', part .. ':d', page[n]))
  local fits = (kinds == '' or string.find(kinds, ',' .. held[1] .. ',', 1, true))
    and (code == '' or code == held[4])
    and (not since or tonumber(held[3]) >= since) and (not before or tonumber(held[3]) < before)
  if fits and (group ~= '' or name ~= '') then
    local lane = redis.call('HGET', part .. ':t:' .. held[2], 'lane')
    local its_group, its_name = string.match(lane, '^(.-)\n%d+\n(.*)$')
    fits = (group == '' or group == its_group) and (name == '' or name == its_name)
  end
  last = held[5]
  if fits then
    for _, value in ipairs({page[n], held[1], held[2], held[3], held[4], held[5]}) do found[#found + 1] = value end
    if (#found - 1) / 6 >= limit then return found end
  end
end
if #page == budget then found[1] = last end
return found
