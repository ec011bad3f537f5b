-- Prolongs leases. One that Redis has lost, because it was started again, is there again.
--
-- KEYS: a set of places.
-- ARGV: a time in microseconds, or 0; the length of a lease in microseconds; the names of leases.
local now = moment(ARGV[1])
local length = tonumber(ARGV[2])
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + length), ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(length / 1000) + 60000))
return 1
