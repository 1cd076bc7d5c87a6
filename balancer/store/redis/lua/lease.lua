-- Renews a lease, or ends it. KEYS[1] the lease; ARGV: holder, milliseconds (0 ends it).
-- Returns 1 when the holder has it, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
