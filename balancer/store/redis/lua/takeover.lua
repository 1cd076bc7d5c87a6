-- Gives what a dead balancer had to another one, under the tokens that workers know it by.
-- KEYS[1] the part; ARGV: request, new owner, dead owner, how many. Returns id and token of each.
-- The same request gets the same tasks again, as far as they are still the new owner's.

local part, request, owner, dead, limit = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local receipt = part .. ':c:' .. request
local held = redis.call('GET', receipt)
local ids = held and cmsgpack.unpack(held)
if not ids then
  ids = redis.call('SRANDMEMBER', part .. ':o:' .. dead, limit)
  for _, id in ipairs(ids) do
    redis.call('SMOVE', part .. ':o:' .. dead, part .. ':o:' .. owner, id)
    redis.call('HSET', part .. ':t:' .. id, 'own', owner)
  end
  if #ids > 0 then redis.call('SET', receipt, cmsgpack.pack(ids), 'PX', 600000) end
end
local given = {}
for _, id in ipairs(ids) do
  local task = redis.call('HMGET', part .. ':t:' .. id, 'own', 'tok')
  if task[1] == owner then given[#given + 1], given[#given + 2] = id, task[2] or '' end
end
return given
