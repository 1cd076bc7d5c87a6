-- KEYS[1] the part; ARGV: which sorted set of it, from, to, how many. Returns members with their scores.
return redis.call('ZRANGEBYSCORE', KEYS[1] .. ':' .. ARGV[1], ARGV[2], ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[4])
