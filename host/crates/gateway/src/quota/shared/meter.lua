-- What has been taken of something is kept as "DEBT AT": a debt in nanoseconds at a time in microseconds. See gcra.rs, whose
-- steps these are. Every number stays below 2^53, so that doubles hold it exactly.

-- The time is Redis' own, so that the clocks of those who ask do not matter; unless a test says one.
local function moment(said)
  if said ~= '0' then
    return tonumber(said)
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- The debt now, and the time that it is noted under: a time before the last one is taken for the last.
local function owed(key, now)
  local debt, at = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  if not debt then
    return 0, now
  end
  at = tonumber(at)
  return math.max(0, tonumber(debt) - math.max(0, now - at) * 1000), math.max(now, at)
end

-- A debt that time has paid needs no key. One minute more, for clocks that are put back.
local function owe(key, debt, at)
  local lives = math.ceil(debt / 1000000) + 60000
  redis.call('SET', key, string.format('%.0f %.0f', debt, at), 'PX', string.format('%.0f', lives))
end
