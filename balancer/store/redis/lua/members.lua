-- Keeps who is there, on the server's clock. KEYS[1] the members; ARGV: what (beat, leave, forget), who,
-- milliseconds after which one is dead. A beat returns how long ago the one before was (-1: never), and
-- who is dead.

local what, who = ARGV[1], ARGV[2]
if what == 'leave' then return redis.call('ZADD', KEYS[1], 'XX', 0, who) end
if what == 'forget' then return redis.call('ZREM', KEYS[1], who) end
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local last = redis.call('ZSCORE', KEYS[1], who)
redis.call('ZADD', KEYS[1], now, who)
-- What a balancer left that had the store for itself.
redis.call('ZADD', KEYS[1], 'NX', 0, 'single')
local answer = {last and now - tonumber(last) or -1}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. now - tonumber(ARGV[3]))) do
  if other ~= who then answer[#answer + 1] = other end
end
return answer
