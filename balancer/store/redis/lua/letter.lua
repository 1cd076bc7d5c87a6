-- KEYS[1] the part; ARGV: a letter. Returns kind, task, moment, code and place, then row, tries and error of
-- its webhook when it has one; nothing when there is no such letter.
local held = redis.call('HGET', KEYS[1] .. ':d', ARGV[1])
if not held then return {} end
held = cmsgpack.unpack(held)
local hook = redis.call('HMGET', KEYS[1] .. ':h:' .. ARGV[1], 'row', 'att', 'err')
return {held[1], held[2], held[3], held[4], held[5], hook[1], hook[2], hook[3]}
