-- Takes what a claim says from all limits, or nothing.
--
-- KEYS: the meter of each rate, then the set of each number of places.
-- ARGV: a time in microseconds, or 0; the number of meters; of each meter the cost and the most debt; the name of a lease and its
-- length in microseconds; of each set the most members.
-- Gives whether it was taken, then the debts and the members as they were before.
local now = moment(ARGV[1])
local meters = tonumber(ARGV[2])
local lease, length = ARGV[3 + 2 * meters], tonumber(ARGV[4 + 2 * meters])
local taken = 1
local answer, debts, ats = {}, {}, {}

for i = 1, meters do
  debts[i], ats[i] = owed(KEYS[i], now)
  answer[i + 1] = debts[i]
  if debts[i] + tonumber(ARGV[1 + 2 * i]) > tonumber(ARGV[2 + 2 * i]) then
    taken = 0
  end
end
for i = meters + 1, #KEYS do
  -- Leases of those who ended without giving them back.
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', string.format('%.0f', now))
  answer[i + 1] = redis.call('ZCARD', KEYS[i])
  if answer[i + 1] >= tonumber(ARGV[4 + meters + i]) then
    taken = 0
  end
end

if taken == 1 then
  for i = 1, meters do
    owe(KEYS[i], debts[i] + tonumber(ARGV[1 + 2 * i]), ats[i])
  end
  for i = meters + 1, #KEYS do
    redis.call('ZADD', KEYS[i], string.format('%.0f', now + length), lease)
    redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.ceil(length / 1000) + 60000))
  end
end
answer[1] = taken
return answer
