-- Changes debts by what was used more or less than was set aside.
--
-- KEYS: meters.
-- ARGV: a time in microseconds, or 0; the most debt; of each meter the difference in nanoseconds.
local now = moment(ARGV[1])
local most = tonumber(ARGV[2])
for i = 1, #KEYS do
  local debt, at = owed(KEYS[i], now)
  debt = math.min(most, math.max(0, debt + tonumber(ARGV[2 + i])))
  if debt == 0 then
    redis.call('DEL', KEYS[i])
  else
    owe(KEYS[i], debt, at)
  end
end
return 1
