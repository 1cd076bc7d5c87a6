-- Looks for webhooks that are due, oldest first, then by host. KEYS[1] the part; ARGV: now, how many, number
-- of hosts to pass over, the hosts, the ids to pass over. Returns member, next try and size of each.

local part, now, limit, hosts = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local busy, skipped, found, at = {}, {}, {}, 0
for n = 4, 3 + hosts do busy[ARGV[n]] = true end
for n = 4 + hosts, #ARGV do skipped[ARGV[n]] = true end
while true do
  local page = redis.call('ZRANGEBYSCORE', part .. ':due', '-inf', now, 'WITHSCORES', 'LIMIT', at, 500)
  for n = 1, #page, 2 do
    local host, id = string.match(page[n], '^(.-)\n%d+\n(.*)$')
    if not busy[host] and not skipped[id] then
      found[#found + 1], found[#found + 2] = page[n], page[n + 1]
      found[#found + 1] = redis.call('HGET', part .. ':h:' .. id, 'size')
      if #found >= limit * 3 then return found end
    end
  end
  if #page < 1000 then return found end
  at = at + 500
end
