-- Reads pending webhooks. KEYS[1] the part; ARGV: the ids. Returns row, body, tries, next try of each, or false.
local found = {}
for n = 1, #ARGV do
  local hook = redis.call('HMGET', KEYS[1] .. ':h:' .. ARGV[n], 'row', 'body', 'att', 'nxt', 'st')
  found[n] = hook[5] == 'pending' and hook or false
end
return found
