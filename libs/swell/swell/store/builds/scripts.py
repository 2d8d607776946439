"""Lua scripts: each changes a build in one atomic step, by the clock of Redis where it needs one.

A build waits in its client's queue until fewer builds of the client are running than allowed. Then it is `READY`: its
job is in the message queue, or is about to be, until a builder starts it. See `swell.store.keys` for the keys.
"""

from swell.store.keys import LUA
from swell.store.records import MIRROR_PREFIX

QUEUE_FULL, CHILD_CANCELLED, OTHER_INPUTS = -1, -2, -3
"""Why `SUBMIT` has not registered a build."""

# KEYS: index of the target image. ARGV: container id, or the id of a mirror; record; life (s); replaced build; client;
# queue limit; first half of the fingerprint, or ''; series, or ''; children.
# Returns the build id and 1 (new), 0 (existing) or one of the errors above.
SUBMIT = f"""{LUA}
local current = redis.call('GET', KEYS[1])
if current and current ~= ARGV[4] then return {{current, 0}} end
local waiting = waiting_key(ARGV[5])
if redis.call('ZCARD', waiting) >= tonumber(ARGV[6]) then return {{'', {QUEUE_FULL}}} end
local inputs, name = INPUTS .. ':' .. string.sub(ARGV[1], 1, 4), string.sub(ARGV[1], 5)
local known = redis.call('HGET', inputs, name)
if known and ARGV[7] ~= '' and known ~= ARGV[7] then return {{'', {OTHER_INPUTS}}} end
for at = 9, #ARGV do
    if redis.call('EXISTS', build_key(ARGV[at], CANCELLED)) == 1 then return {{ARGV[at], {CHILD_CANCELLED}}} end
end
local id = ARGV[1]
if string.sub(id, 1, {len(MIRROR_PREFIX)}) ~= '{MIRROR_PREFIX}' then
    local some = redis.call('HRANDFIELD', COUNTERS, 4, 'WITHVALUES')
    for at = 1, #some, 2 do
        local newest = 'bd-' .. some[at] .. '_' .. some[at + 1]
        local parts = {{build_key(newest, SUBMISSION), build_key(newest, RESULT), build_key(newest, ATTEMPTS)}}
        if redis.call('EXISTS', unpack(parts)) == 0 then redis.call('HDEL', COUNTERS, some[at]) end
    end
    id = 'bd-' .. id .. '_' .. redis.call('HINCRBY', COUNTERS, id, 1)
    if ARGV[7] ~= '' then redis.call('HSETNX', inputs, name, ARGV[7]) end
end
redis.call('SET', build_key(id, SUBMISSION), ARGV[2], 'EX', ARGV[3])
redis.call('SET', KEYS[1], id, 'EX', ARGV[3])
redis.call('ZADD', waiting, redis.call('INCR', ORDER), id)
redis.call('SADD', CLIENTS, ARGV[5])
redis.call('HSET', CLIENT_OF, id, ARGV[5])
if ARGV[8] ~= '' then
    local before = redis.call('SET', SERIES .. ':' .. ARGV[8], id, 'EX', ARGV[3], 'GET')
    if before then redis.call('SET', build_key(id, BEFORE), before, 'EX', ARGV[3]) end
end
for at = 9, #ARGV do
    local parents = build_key(ARGV[at], PARENTS)
    redis.call('SADD', parents, id)
    redis.call('EXPIRE', parents, ARGV[3])
end
return {{id, 1}}
"""

# ARGV: client, limit, now. Returns the released builds. A running build without a result counts for one day.
RELEASE = f"""{LUA}
local client, limit, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local waiting, running = waiting_key(client), running_key(client)
redis.call('ZREMRANGEBYSCORE', running, '-inf', now - 86400)
local free = limit - redis.call('ZCARD', running)
local released = {{}}
if free > 0 then
    local popped = redis.call('ZPOPMIN', waiting, free)
    for at = 1, #popped, 2 do
        local id = popped[at]
        redis.call('ZADD', running, now, id)
        redis.call('ZADD', READY, popped[at + 1], id)
        redis.call('ZADD', UNPUBLISHED, now, id)
        redis.call('ZADD', UNFINISHED, now, id)
        released[#released + 1] = id
    end
end
if redis.call('EXISTS', waiting) == 0 then redis.call('SREM', CLIENTS, client) end
return released
"""

_DEQUEUE = f"""{LUA}
local function dequeue(id)
    local client = redis.call('HGET', CLIENT_OF, id)
    if client then
        redis.call('ZREM', waiting_key(client), id)
        redis.call('ZREM', running_key(client), id)
        redis.call('HDEL', CLIENT_OF, id)
        redis.call('SADD', FREED, client)
    end
    redis.call('ZREM', READY, id)
    redis.call('ZREM', UNFINISHED, id)
    redis.call('DEL', build_key(id, INTEREST), build_key(id, PARENTS))
end
"""

# ARGV: build id, result, life (s). Returns the stored result if there was one.
FINISH = f"""{_DEQUEUE}
local result = build_key(ARGV[1], RESULT)
dequeue(ARGV[1])
if redis.call('SET', result, ARGV[2], 'NX', 'EX', ARGV[3]) then return false end
return redis.call('GET', result)
"""

# ARGV: build id, life (s). Returns the number of the attempt.
BEGIN = f"""{LUA}
local attempts = build_key(ARGV[1], ATTEMPTS)
redis.call('ZREM', READY, ARGV[1])
local attempt = redis.call('INCR', attempts)
redis.call('EXPIRE', attempts, ARGV[2])
return attempt
"""

# ARGV: build id, request id, user, life (s). Returns 0 when the build is cancelled.
ADD_INTEREST = f"""{LUA}
local id = ARGV[1]
if redis.call('EXISTS', build_key(id, CANCELLED)) == 1 then return 0 end
if redis.call('EXISTS', build_key(id, RESULT)) == 1 then return 1 end
redis.call('HSET', build_key(id, INTEREST), ARGV[2], '+' .. ARGV[3])
redis.call('EXPIRE', build_key(id, INTEREST), ARGV[4])
return 1
"""

_COUNT_INTEREST = """
local function is_active(id)
    return redis.call('EXISTS', build_key(id, SUBMISSION)) == 1
        and redis.call('EXISTS', build_key(id, RESULT), build_key(id, CANCELLED)) == 0
end

local function count_interest(id)
    local count = 0
    for _, entry in ipairs(redis.call('HVALS', build_key(id, INTEREST))) do
        if string.sub(entry, 1, 1) == '+' then count = count + 1 end
    end
    for _, parent in ipairs(redis.call('SMEMBERS', build_key(id, PARENTS))) do
        if is_active(parent) then count = count + 1 end
    end
    return count
end
"""

# ARGV: build id, request id, user, all ('1'), result, life (s).
# Returns the state, the remaining interest, and for each cancelled child its id and its state.
CANCEL = f"""{_DEQUEUE}{_COUNT_INTEREST}
local id, request, user, all, result, life = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1', ARGV[5], ARGV[6]

local function cancel(id)
    redis.call('SET', build_key(id, CANCELLED), 1, 'EX', life)
    if redis.call('EXISTS', build_key(id, ATTEMPTS)) == 1 then return 'ending' end
    dequeue(id)
    redis.call('ZREM', UNPUBLISHED, id)
    redis.call('SET', build_key(id, RESULT), result, 'EX', life)
    return 'taken-out'
end

local submission = redis.call('GET', build_key(id, SUBMISSION))
if not submission then return {{'unknown', 0}} end
if redis.call('EXISTS', build_key(id, RESULT)) == 1 then return {{'ended', 0}} end
local interest, withdrawn = redis.call('HGETALL', build_key(id, INTEREST)), 0
for at = 1, #interest, 2 do
    local name = string.sub(interest[at + 1], 2)
    if all or interest[at] == request or (user ~= '' and name == user) then
        withdrawn = withdrawn + 1
        redis.call('HSET', build_key(id, INTEREST), interest[at], '-' .. name)
    end
end
local others = all and 0 or count_interest(id)
if withdrawn == 0 and not all then return {{'refused', others}} end
if others > 0 then return {{'left', others}} end
local reply = {{cancel(id), 0}}
for _, child in ipairs(cjson.decode(submission).children or {{}}) do
    if child.build_id and is_active(child.build_id) and count_interest(child.build_id) == 0 then
        reply[#reply + 1] = child.build_id
        reply[#reply + 1] = cancel(child.build_id)
    end
end
return reply
"""

# ARGV: build id. Returns its position, from 1; 0 when it is not queued.
POSITION = f"""{LUA}
local rank = redis.call('ZRANK', READY, ARGV[1])
if rank then return rank + 1 end
local client = redis.call('HGET', CLIENT_OF, ARGV[1])
rank = client and redis.call('ZRANK', waiting_key(client), ARGV[1])
return rank and redis.call('ZCARD', READY) + rank + 1 or 0
"""
