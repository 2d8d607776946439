"""What Redis does in one step: with builds, whoever else does something to the same build at the time, and by its own
clock.

A build waits in the line of its client, `swell:queue:waiting:<client>`, until one of the client's places among those
under way, `swell:queue:running:<client>`, is free. Then it is `ready`: its job is in the message queue, or about to be,
until a builder begins it. `clients` has whoever has a line, `freed` whoever has a place again that nobody has looked
after, `client-of` the client of each build that has not ended.

Who wants a build is in its `wanted`, a hash of '+<user>' by request and '-<user>' of those who have left; a build of
several platforms that waits for it is in its `parents`, and counts for as long as it is under way and wanted itself.
"""

FULL, UNWANTED = -1, -2  # why there is no new build

# The number, the record, the index, the place in the line, and the wish for children (ARGV[7] and on). Instead of a
# build, what it fails for: the line is FULL, or a child is UNWANTED, that is, being cancelled.
SUBMIT = f"""
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[4] then return {{current, 0}} end
local waiting = 'swell:queue:waiting:' .. ARGV[5]
if redis.call('ZCARD', waiting) >= tonumber(ARGV[6]) then return {{'', {FULL}}} end
for at = 7, #ARGV do
    if redis.call('EXISTS', 'swell:build:' .. ARGV[at] .. ':cancelled') == 1 then return {{ARGV[at], {UNWANTED}}} end
end
local id = 'bd-' .. ARGV[1] .. '_' .. redis.call('HINCRBY', 'swell:build-counters', ARGV[1], 1)
redis.call('SET', 'swell:build:' .. id .. ':submission', ARGV[2], 'EX', ARGV[3])
redis.call('SET', KEYS[1], id, 'EX', ARGV[3])
redis.call('ZADD', waiting, redis.call('INCR', 'swell:queue:order'), id)
redis.call('SADD', 'swell:queue:clients', ARGV[5])
redis.call('HSET', 'swell:queue:client-of', id, ARGV[5])
for at = 7, #ARGV do
    local parents = 'swell:build:' .. ARGV[at] .. ':parents'
    redis.call('SADD', parents, id)
    redis.call('EXPIRE', parents, ARGV[3])
end
return {{id, 1}}
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
    redis.call('DEL', 'swell:build:' .. id .. ':wanted', 'swell:build:' .. id .. ':parents')
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

_WISHES = """
local function is_under_way(id)
    local build = 'swell:build:' .. id
    return redis.call('EXISTS', build .. ':submission') == 1
        and redis.call('EXISTS', build .. ':result', build .. ':cancelled') == 0
end

local function wishes(id)
    local count = 0
    for _, wish in ipairs(redis.call('HVALS', 'swell:build:' .. id .. ':wanted')) do
        if string.sub(wish, 1, 1) == '+' then count = count + 1 end
    end
    for _, parent in ipairs(redis.call('SMEMBERS', 'swell:build:' .. id .. ':parents')) do
        if is_under_way(parent) then count = count + 1 end
    end
    return count
end
"""

# What became of the wish, how many others there are, and, by twos, the children that go as well with how they do.
CANCEL = f"""{_LEAVE}{_WISHES}
local id, request, user, all, result, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6]

local function cancelled(id)
    local build = 'swell:build:' .. id
    redis.call('SET', build .. ':cancelled', 1, 'EX', life)
    if redis.call('EXISTS', build .. ':attempts') == 1 then return 'ending' end
    leave(id)
    redis.call('ZREM', 'swell:builds:unpublished', id)
    redis.call('SET', build .. ':result', result, 'EX', life)
    return 'taken-out'
end

local build = 'swell:build:' .. id
local submission = redis.call('GET', build .. ':submission')
if not submission then return {{'unknown', 0}} end
if redis.call('EXISTS', build .. ':result') == 1 then return {{'ended', 0}} end
local wanted, mine = redis.call('HGETALL', build .. ':wanted'), 0
for at = 1, #wanted, 2 do
    local name = string.sub(wanted[at + 1], 2)
    if all or wanted[at] == request or (user ~= '' and name == user) then
        mine = mine + 1
        redis.call('HSET', build .. ':wanted', wanted[at], '-' .. name)
    end
end
local others = all and 0 or wishes(id)
if mine == 0 and not all then return {{'refused', others}} end
if others > 0 then return {{'left', others}} end
local answer = {{cancelled(id), 0}}
for _, child in ipairs(cjson.decode(submission).children or {{}}) do
    if child.build_id and is_under_way(child.build_id) and wishes(child.build_id) == 0 then
        answer[#answer + 1] = child.build_id
        answer[#answer + 1] = cancelled(child.build_id)
    end
end
return answer
"""

# How many builds go before this one, itself counted; 0 when it does not wait.
POSITION = """
local rank = redis.call('ZRANK', 'swell:queue:ready', ARGV[1])
if rank then return rank + 1 end
local client = redis.call('HGET', 'swell:queue:client-of', ARGV[1])
rank = client and redis.call('ZRANK', 'swell:queue:waiting:' .. client, ARGV[1])
return rank and redis.call('ZCARD', 'swell:queue:ready') + rank + 1 or 0
"""

# A sorted set, each member with the moment until which it is believed.
TELL_MACHINE = """
local now = redis.call('TIME')[1]
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('EXPIRE', KEYS[1], math.ceil(ARGV[2]))
"""

TOLD_MACHINES = """
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. redis.call('TIME')[1], '+inf', 'LIMIT', 0, 100)
"""
