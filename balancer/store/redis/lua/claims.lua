-- KEYS[1] the part; ARGV: the name that a caller gave a task. Returns fingerprint, task and expiry, or nothing.
local held = redis.call('HGET', KEYS[1] .. ':k', ARGV[1])
if not held then return {} end
held = cmsgpack.unpack(held)
return {held[1], held[2], held[3]}
