-- KEYS[1] the part. Returns the numbers of `Totals` in reader.py.
local part = KEYS[1]
local held = redis.call('HMGET', part .. ':n', 'bytes', 'buried', 'dead task', 'dead webhook', 'dead quarantine')
for n = 1, 5 do held[n] = tonumber(held[n] or 0) end
local open = redis.call('ZCARD', part .. ':open')
return {
  open, held[1], redis.call('ZCARD', part .. ':onces'), redis.call('ZCARD', part .. ':all') - open - held[2],
  held[3], held[4], held[5],
}
