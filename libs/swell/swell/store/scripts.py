"""What Redis does with builds in one step, whoever else does something to the same build at the time.

A build waits in the line of its client, `swell:queue:waiting:<client>`, until one of the client's places among those
under way, `swell:queue:running:<client>`, is free. Then it is `ready`: its job is in the message queue, or about to be,
until a builder begins it. `clients` has whoever has a line, `freed` whoever has a place again that nobody has looked
after, `client-of` the client of each build that has not ended.
"""

# The number, the record, the index and the place in the line; {'', -1} when the line is full.
SUBMIT = """
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[4] then return {current, 0} end
local waiting = 'swell:queue:waiting:' .. ARGV[5]
if redis.call('ZCARD', waiting) >= tonumber(ARGV[6]) then return {'', -1} end
local id = 'bd-' .. ARGV[1] .. '_' .. redis.call('HINCRBY', 'swell:build-counters', ARGV[1], 1)
redis.call('SET', 'swell:build:' .. id .. ':submission', ARGV[2], 'EX', ARGV[3])
redis.call('SET', KEYS[1], id, 'EX', ARGV[3])
redis.call('ZADD', waiting, redis.call('INCR', 'swell:queue:order'), id)
redis.call('SADD', 'swell:queue:clients', ARGV[5])
redis.call('HSET', 'swell:queue:client-of', id, ARGV[5])
return {id, 1}
"""

# The builds of a client that its share lets go; a place that nobody gave back within a day is free again.
RELEASE = """
local client, share, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local waiting, running = 'swell:queue:waiting:' .. client, 'swell:queue:running:' .. client
redis.call('ZREMRANGEBYSCORE', running, '-inf', now - 86400)
local free = share - redis.call('ZCARD', running)
local released = {}
if free > 0 then
    local popped = redis.call('ZPOPMIN', waiting, free)
    for at = 1, #popped, 2 do
        local id = popped[at]
        redis.call('ZADD', running, now, id)
        redis.call('ZADD', 'swell:queue:ready', popped[at + 1], id)
        redis.call('ZADD', 'swell:builds:unpublished', now, id)
        redis.call('ZADD', 'swell:builds:open', now, id)
        released[#released + 1] = id
    end
end
if redis.call('EXISTS', waiting) == 0 then redis.call('SREM', 'swell:queue:clients', client) end
return released
"""

_LEAVE = """
local function leave(id)
    local client = redis.call('HGET', 'swell:queue:client-of', id)
    if client then
        redis.call('ZREM', 'swell:queue:waiting:' .. client, id)
        redis.call('ZREM', 'swell:queue:running:' .. client, id)
        redis.call('HDEL', 'swell:queue:client-of', id)
        redis.call('SADD', 'swell:queue:freed', client)
    end
    redis.call('ZREM', 'swell:queue:ready', id)
    redis.call('ZREM', 'swell:builds:open', id)
    redis.call('DEL', 'swell:build:' .. id .. ':wanted')
end
"""

# Answers the result that was there before, if one was.
FINISH = f"""{_LEAVE}
local result = 'swell:build:' .. ARGV[1] .. ':result'
leave(ARGV[1])
if redis.call('SET', result, ARGV[2], 'NX', 'EX', ARGV[3]) then return false end
return redis.call('GET', result)
"""

BEGIN = """
local attempts = 'swell:build:' .. ARGV[1] .. ':attempts'
redis.call('ZREM', 'swell:queue:ready', ARGV[1])
local attempt = redis.call('INCR', attempts)
redis.call('EXPIRE', attempts, ARGV[2])
return attempt
"""

# 0 when the build is cancelled, so that wanting it comes too late.
WANT = """
local build = 'swell:build:' .. ARGV[1]
if redis.call('EXISTS', build .. ':cancelled') == 1 then return 0 end
if redis.call('EXISTS', build .. ':result') == 1 then return 1 end
redis.call('HSET', build .. ':wanted', ARGV[2], '+' .. ARGV[3])
redis.call('EXPIRE', build .. ':wanted', ARGV[4])
return 1
"""

# Who wants a build is a hash of '+<user>' by request, '-<user>' of those who have left.
CANCEL = f"""{_LEAVE}
local id, request, user, all = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local build = 'swell:build:' .. id
if redis.call('EXISTS', build .. ':submission') == 0 then return {{'unknown', 0}} end
if redis.call('EXISTS', build .. ':result') == 1 then return {{'ended', 0}} end
local wanted = redis.call('HGETALL', build .. ':wanted')
local mine, others = 0, 0
for at = 1, #wanted, 2 do
    local name = string.sub(wanted[at + 1], 2)
    if all or wanted[at] == request or (user ~= '' and name == user) then
        mine = mine + 1
        redis.call('HSET', build .. ':wanted', wanted[at], '-' .. name)
    elseif string.sub(wanted[at + 1], 1, 1) == '+' then
        others = others + 1
    end
end
if mine == 0 and not all then return {{'refused', others}} end
if others > 0 then return {{'left', others}} end
redis.call('SET', build .. ':cancelled', 1, 'EX', ARGV[6])
if redis.call('EXISTS', build .. ':attempts') == 1 then return {{'ending', 0}} end
leave(id)
redis.call('ZREM', 'swell:builds:unpublished', id)
redis.call('SET', build .. ':result', ARGV[5], 'EX', ARGV[6])
return {{'taken-out', 0}}
"""

# How many builds go before this one, itself counted; 0 when it does not wait.
POSITION = """
local rank = redis.call('ZRANK', 'swell:queue:ready', ARGV[1])
if rank then return rank + 1 end
local client = redis.call('HGET', 'swell:queue:client-of', ARGV[1])
rank = client and redis.call('ZRANK', 'swell:queue:waiting:' .. client, ARGV[1])
return rank and redis.call('ZCARD', 'swell:queue:ready') + rank + 1 or 0
"""
