-- Gives waiting tasks of one pool to an owner. KEYS[1] the part; ARGV: request, owner, how many in all, the
-- pool's prefix of lane names, then function and how many of it. Returns id and token of each.
-- The same request gets the same tasks again, as far as they are still the owner's.

local part, request, owner, total, pool = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local call = redis.call
local receipt = part .. ':c:' .. request

local function task_key(id) return part .. ':t:' .. id end

local held = call('GET', receipt)
if held then
  local again = {}
  held = cmsgpack.unpack(held)
  for n = 1, #held, 2 do
    local task = call('HMGET', task_key(held[n]), 'own', 'tok')
    if task[1] == owner and task[2] == held[n + 1] then
      again[#again + 1], again[#again + 2] = held[n], held[n + 1]
    end
  end
  return again
end

-- What was delayed and is due by now waits with the others.
local now = call('TIME')
now = now[1] * 1000000 + now[2]
for _, id in ipairs(call('ZRANGEBYSCORE', part .. ':later', '-inf', now, 'LIMIT', 0, 100)) do
  local task = call('HMGET', task_key(id), 'lane', 'plc', 'pri')
  call('ZREM', part .. ':later', id)
  call('HSET', task_key(id), 'st', 'queued')
  call('HDEL', task_key(id), 'due')
  call('ZADD', part .. ':l:' .. task[1], task[3], string.format('%016.0f', tonumber(task[2])) .. id)
end

local lanes = {}
for n = 5, #ARGV, 2 do
  local lane = {key = part .. ':l:' .. pool .. ARGV[n], free = tonumber(ARGV[n + 1])}
  lanes[#lanes + 1] = lane
end

local function look(lane)
  local head = lane.free > 0 and call('ZRANGE', lane.key, 0, 0, 'WITHSCORES') or {}
  lane.member, lane.priority = head[1], tonumber(head[2])
end

for _, lane in ipairs(lanes) do look(lane) end
local given = {}
while #given < total * 2 do
  local best
  for _, lane in ipairs(lanes) do
    if lane.member and (not best or lane.priority < best.priority
        or lane.priority == best.priority and lane.member < best.member) then
      best = lane
    end
  end
  if not best then break end
  local id = string.sub(best.member, 17)
  local token = request .. '-' .. #given / 2 + 1
  call('ZREM', best.key, best.member)
  call('HSET', task_key(id), 'st', 'running', 'own', owner, 'tok', token)
  call('SADD', part .. ':o:' .. owner, id)
  given[#given + 1], given[#given + 2] = id, token
  best.free = best.free - 1
  look(best)
end
if #given > 0 then call('SET', receipt, cmsgpack.pack(given), 'PX', 600000) end
return given
