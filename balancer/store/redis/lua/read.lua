-- Reads tasks. KEYS[1] the part; ARGV: longest input that is read, number of fields, the fields, the ids.
-- Returns for each id: false, or the fields, then status, tries and next try of its webhook.

local part, longest, count = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local fields = {}
for n = 1, count do fields[n] = ARGV[2 + n] end
local found = {}
for n = 3 + count, #ARGV do
  local key = part .. ':t:' .. ARGV[n]
  if redis.call('EXISTS', key) == 0 then
    found[#found + 1] = false
  else
    local row = redis.call('HMGET', key, unpack(fields))
    local input = false
    if redis.call('HSTRLEN', key, 'in') <= longest then input = redis.call('HGET', key, 'in') end
    local hook = redis.call('HGET', key, 'hook')
    hook = hook and redis.call('HMGET', part .. ':h:' .. hook, 'st', 'att', 'nxt') or {false, false, false}
    row[count + 1], row[count + 2], row[count + 3], row[count + 4] = input, hook[1], hook[2], hook[3]
    found[#found + 1] = row
  end
end
return found
