-- Applies the writes of one batch to one part, in the order of the calls, as a whole.
--
-- KEYS[1]  the part, e.g. {cabrank:ff}; every key of the part begins with it, so all are in its hash slot
-- ARGV     writer, number of the batch, owner, then for each write: its kind, how many values, the values
--
-- A batch that was applied is not applied again: a repeated one (its answer was lost) gets the same
-- answer, one that arrives late (its connection hung) gets the answer of its successor, which nobody
-- reads. "" stands for an absent value. Returns what single writes have to say: place of the write, text.

local part = KEYS[1]
local writer, number, owner = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local call = redis.call
local answer = {}

local seal = part .. ':w:' .. writer
local sealed = call('GET', seal)
if sealed then
  sealed = cmsgpack.unpack(sealed)
  if sealed[1] >= number then return sealed[2] end
end
-- The first write: a server that takes none (OOM, NOREPLICAS, READONLY …) refuses the batch here, whole.
call('SET', seal, cmsgpack.pack({number, answer}), 'PX', 3600000)

local open, all, ended, later, due = part .. ':open', part .. ':all', part .. ':ended', part .. ':later', part .. ':due'
local dead, letters = part .. ':dead', part .. ':d'
local onces, claims = part .. ':onces', part .. ':k'
local numbers = part .. ':n'
local now = call('TIME')
now = now[1] * 1000000 + now[2]
local last_place

local function next_place()
  last_place = last_place or tonumber(call('HGET', numbers, 'place') or 0)
  last_place = math.max(last_place + 1, now)
  return last_place
end

local function task_key(id) return part .. ':t:' .. id end

local function hook_key(id) return part .. ':h:' .. id end

local function digits(value) return string.format('%016.0f', tonumber(value)) end

-- Where a task waits for its turn: by priority, then by acceptance; or until it is due.
local function wait(id, lane, priority, place, due_at)
  if due_at == '' then
    call('ZADD', part .. ':l:' .. lane, priority, digits(place) .. id)
  else
    call('ZADD', later, due_at, id)
  end
end

-- Takes a task from where it waits, or from who runs it.
local function leave(id, lane, place, by)
  call('ZREM', part .. ':l:' .. lane, digits(place) .. id)
  call('ZREM', later, id)
  if by then call('SREM', part .. ':o:' .. by, id) end
end

local function keep_attempt(key, packed)
  if packed == '' then return nil end
  local one = cmsgpack.unpack(packed)
  local kept, known = {}, false
  local list = call('HGET', key, 'att')
  for _, each in ipairs(list and cmsgpack.unpack(list) or {}) do
    local same = each[1] == one[1]
    if same then
      known = true
      each[5], each[6], each[7] = one[5], one[6], one[7]
    end
    if not (same and one[6] == 'refused') and each[2] > one[2] - 32 then kept[#kept + 1] = each end
  end
  if not known and one[6] ~= 'refused' then kept[#kept + 1] = one end
  if #kept == 0 then call('HDEL', key, 'att') else call('HSET', key, 'att', cmsgpack.pack(kept)) end
  return one
end

local function begin(key, one)
  call('HSETNX', key, 'sta', one[4])
  if one[2] > tonumber(call('HGET', key, 'num') or 0) then call('HSET', key, 'num', one[2]) end
end

local function drop_hook(id)
  local key = hook_key(id)
  local old = call('HMGET', key, 'mem', 'size')
  if old[1] and call('ZREM', due, old[1]) == 1 then call('HINCRBY', numbers, 'bytes', -tonumber(old[2])) end
  call('DEL', key)
end

-- What is over, told of, and neither a key's task nor a dead letter's may be forgotten.
local function let_go(id)
  local task = call('HMGET', task_key(id), 'fin', 'key', 'hook', 'let')
  if not task[1] or task[2] or task[4] then return end
  if task[3] and call('HGET', hook_key(task[3]), 'st') == 'pending' then return end
  call('ZADD', ended, task[1], id)
end

local function bury(letter, kind, id, died_at, code)
  if call('HEXISTS', letters, letter) == 1 then return end
  local place = next_place()
  call('HSET', letters, letter, cmsgpack.pack({kind, id, died_at, code, digits(place)}))
  call('ZADD', dead, place, letter)
  call('HINCRBY', numbers, 'dead ' .. kind, 1)
  if call('HINCRBY', task_key(id), 'let', 1) == 1 then call('HINCRBY', numbers, 'buried', 1) end
  call('ZREM', ended, id)
end

-- Returns the task of a letter of a kind.
local function letter_of(letter, kind)
  local held = call('HGET', letters, letter)
  held = held and cmsgpack.unpack(held)
  return held and held[1] == kind and held[2]
end

local function unbury(letter, kind, id)
  call('HDEL', letters, letter)
  call('ZREM', dead, letter)
  call('HINCRBY', numbers, 'dead ' .. kind, -1)
  if call('HINCRBY', task_key(id), 'let', -1) == 0 then
    call('HDEL', task_key(id), 'let')
    call('HINCRBY', numbers, 'buried', -1)
  end
  let_go(id)
end

local function unclaim(id)
  local name = call('HGET', task_key(id), 'key')
  if not name then return end
  call('HDEL', claims, name)
  call('ZREM', onces, id)
  call('HDEL', task_key(id), 'key')
  let_go(id)
end

-- Keeps what a caller named a task; false when that is another task's name.
local function claim(id, name, fingerprint, expires_at, created_at)
  local held = call('HGET', claims, name)
  if held then
    held = cmsgpack.unpack(held)
    if tonumber(held[3]) > tonumber(created_at) then return held[2] == id end
    unclaim(held[2])
  end
  call('HSET', claims, name, cmsgpack.pack({fingerprint, id, expires_at}))
  call('ZADD', onces, expires_at, id)
  return true
end

-- What a former owner says of a task that is another's by now is only shown.
local function superseded(id, own, attempt)
  if not own or own == owner then return false end
  if attempt ~= '' then
    local one = cmsgpack.unpack(attempt)
    if one[6] ~= 'refused' then
      one[6] = 'superseded'
      keep_attempt(task_key(id), cmsgpack.pack(one))
    end
  end
  return true
end

local kinds = {}

function kinds.probe() end -- the seal is all it writes

local function create(id, order, priority, lane, record, request, input, status, due_at)
  local key, place = task_key(id), next_place()
  call('HSET', key, 'st', status, 'ord', order, 'plc', place, 'pri', priority, 'lane', lane,
    'rec', record, 'req', request, 'in', input, 'by', number .. '@' .. writer)
  if due_at ~= '' then call('HSET', key, 'due', due_at) end
  call('ZADD', open, order, id)
  call('ZADD', all, place, id)
  wait(id, lane, priority, place, due_at)
end

function kinds.accept(id, order, priority, lane, record, request, input, status, due_at, deaths, spent, count,
    name, fingerprint, expires_at, created_at)
  local key = task_key(id)
  if name ~= '' and not claim(id, name, fingerprint, expires_at, created_at) then return 'taken' end
  if call('EXISTS', key) == 1 then return end
  create(id, order, priority, lane, record, request, input, status, due_at)
  if name ~= '' then call('HSET', key, 'key', name) end
  if deaths ~= '0' or spent ~= '0' or count ~= '0' then call('HSET', key, 'dth', deaths, 'spt', spent, 'num', count) end
end

-- Takes an accept back whose caller was told that it failed, unless somebody runs the task already.
function kinds.retract(id, by)
  local key = task_key(id)
  local task = call('HMGET', key, 'st', 'lane', 'plc', 'by')
  if task[4] ~= by then return end -- it was there before
  if task[1] ~= 'queued' and task[1] ~= 'scheduled' then return end
  leave(id, task[2], task[3])
  unclaim(id)
  call('ZREM', open, id)
  call('ZREM', all, id)
  call('DEL', key)
end

function kinds.started(id, attempt)
  local key = task_key(id)
  local task = call('HMGET', key, 'st', 'fin', 'lane', 'plc', 'own')
  if not task[1] or task[2] or task[5] and task[5] ~= owner then return end
  local one = keep_attempt(key, attempt)
  leave(id, task[3], task[4], task[5])
  call('HSET', key, 'st', 'running', 'wkr', one[3], 'own', owner, 'tok', one[1])
  call('HDEL', key, 'due')
  call('SADD', part .. ':o:' .. owner, id)
  begin(key, one)
end

function kinds.requeued(id, attempt, deaths, spent, due_at)
  local key = task_key(id)
  local task = call('HMGET', key, 'st', 'fin', 'lane', 'plc', 'own', 'pri')
  if not task[1] or task[2] or superseded(id, task[5], attempt) then return end
  keep_attempt(key, attempt)
  leave(id, task[3], task[4], task[5])
  call('HDEL', key, 'wkr', 'own', 'tok', 'due')
  call('HSET', key, 'st', due_at == '' and 'queued' or 'scheduled', 'dth', deaths, 'spt', spent)
  if due_at ~= '' then call('HSET', key, 'due', due_at) end
  wait(id, task[3], task[6], task[4], due_at)
end

function kinds.finish(id, status, result, failure, worker, spent, finished_at, attempt, grave,
    code, hook, host, next_at, size, row, body, tries)
  local key = task_key(id)
  local task = call('HMGET', key, 'st', 'fin', 'lane', 'plc', 'own')
  if not task[1] or task[2] or superseded(id, task[5], attempt) then return end
  local one = keep_attempt(key, attempt)
  if one then begin(key, one) end
  leave(id, task[3], task[4], task[5])
  call('ZREM', open, id)
  call('HDEL', key, 'own', 'tok', 'due')
  if grave == '' then call('HDEL', key, 'req', 'in') end -- a dead letter keeps what it needs to run again
  call('HSET', key, 'st', status, 'fin', finished_at, 'spt', spent)
  if result ~= '' then call('HSET', key, 'res', result) end
  if failure ~= '' then call('HSET', key, 'fail', failure) end
  if worker ~= '' then call('HSET', key, 'wkr', worker) end
  if grave ~= '' then bury(id, grave, id, finished_at, code) end
  if hook == '' then
    let_go(id)
    return
  end
  drop_hook(hook)
  local member = host .. '\n' .. digits(task[4]) .. '\n' .. hook
  call('HSET', hook_key(hook), 'st', 'pending', 'att', tries, 'nxt', next_at, 'size', size, 'row', row,
    'body', body, 'task', id, 'mem', member)
  call('HSET', key, 'hook', hook)
  call('HINCRBY', numbers, 'bytes', size)
  call('ZADD', due, next_at, member)
end

-- Ends a task that was claimed; only its owner can, under its token.
function kinds.answer(id, token, ...)
  local attempt = select(7, ...)
  local task = call('HMGET', task_key(id), 'st', 'fin', 'own', 'tok')
  if task[1] and not task[2] and task[3] == owner and task[4] == token then return kinds.finish(id, ...) end
  if task[1] and not (task[3] == owner and task[2]) then superseded(id, task[3] or '', attempt) end
  return 'superseded'
end

-- Puts a task that was claimed back in its own place.
function kinds.give_back(id, token)
  local key = task_key(id)
  local task = call('HMGET', key, 'own', 'tok', 'lane', 'pri', 'plc')
  if task[1] ~= owner or task[2] ~= token then return 'superseded' end
  call('SREM', part .. ':o:' .. owner, id)
  call('HDEL', key, 'own', 'tok', 'wkr')
  call('HSET', key, 'st', 'queued')
  wait(id, task[3], task[4], task[5], '')
end

local function settle(id, status, tries, at, why)
  local key = hook_key(id)
  local hook = call('HMGET', key, 'st', 'mem', 'size', 'task', 'att')
  if hook[1] ~= 'pending' then return end
  call('ZREM', due, hook[2])
  call('HINCRBY', numbers, 'bytes', -tonumber(hook[3]))
  call('HSET', key, 'st', status, 'att', tries or (hook[5] + 1), 'set', at, 'err', why)
  call('HDEL', key, 'nxt')
  let_go(hook[4])
  return key
end

function kinds.delivered(id, at)
  local key = settle(id, 'delivered', nil, at, '')
  if key then call('HDEL', key, 'body') end -- the task has the result
end

function kinds.postponed(id, tries, next_at, why)
  local key = hook_key(id)
  local hook = call('HMGET', key, 'st', 'mem')
  if hook[1] ~= 'pending' then return end
  call('HSET', key, 'att', tries, 'nxt', next_at, 'err', why)
  call('ZADD', due, next_at, hook[2])
end

function kinds.dead(id, tries, at, why)
  local key = settle(id, 'dead', tries, at, why)
  if key then bury(id, 'webhook', call('HGET', key, 'task'), at, 'webhook_failed') end
end

-- Runs the request of a dead task again, as a new task.
function kinds.replay(letter, id, order, priority, lane, record)
  local old = letter_of(letter, 'task')
  if not old then return 'gone' end
  local request = call('HMGET', task_key(old), 'req', 'in')
  call('HDEL', task_key(old), 'req', 'in')
  create(id, order, priority, lane, record, request[1], request[2], 'queued', '')
  unbury(letter, 'task', old)
end

-- Puts a quarantined task back in its own place.
function kinds.release(id, status, record)
  if not letter_of(id, 'quarantine') then return 'gone' end
  local key = task_key(id)
  call('HDEL', key, 'fin', 'fail', 'res', 'wkr', 'dth')
  call('HSET', key, 'st', status, 'rec', record)
  local task = call('HMGET', key, 'ord', 'lane', 'pri', 'plc')
  call('ZADD', open, task[1], id)
  wait(id, task[2], task[3], task[4], '')
  unbury(id, 'quarantine', id)
end

-- Makes a webhook pending again under its id.
function kinds.resend(id, at)
  local task = letter_of(id, 'webhook')
  if not task then return 'gone' end
  local key = hook_key(id)
  local hook = call('HMGET', key, 'mem', 'size')
  call('HSET', key, 'st', 'pending', 'att', 0, 'nxt', at)
  call('HDEL', key, 'set', 'err')
  call('ZADD', due, at, hook[1])
  call('HINCRBY', numbers, 'bytes', hook[2])
  unbury(id, 'webhook', task)
end

-- Forgets what a letter kept; what is left of its task is only a record.
function kinds.purge(letter, kind, status)
  local id = letter_of(letter, kind)
  if not id then return 'gone' end
  if kind == 'webhook' then
    call('HDEL', hook_key(letter), 'body')
    call('HSET', hook_key(letter), 'size', 0)
  else
    call('HDEL', task_key(id), 'req', 'in')
    if status ~= '' then call('HSET', task_key(id), 'st', status) end
  end
  unbury(letter, kind, id)
end

function kinds.unclaim(id) unclaim(id) end

function kinds.forget(id)
  if call('ZREM', ended, id) == 0 then return end
  local key = task_key(id)
  local hook = call('HGET', key, 'hook')
  if hook then drop_hook(hook) end
  call('ZREM', all, id)
  call('DEL', key)
end

local at, place = 4, 0
while at <= #ARGV do
  local count = tonumber(ARGV[at + 1])
  -- A write that cannot be applied takes no other along.
  local ok, said = pcall(kinds[ARGV[at]], unpack(ARGV, at + 2, at + 1 + count))
  if not ok and type(said) == 'table' then said = said.err end
  if said then
    answer[#answer + 1] = place
    answer[#answer + 1] = (ok and '' or 'error ') .. tostring(said)
  end
  at, place = at + 2 + count, place + 1
end
if last_place then call('HSET', numbers, 'place', string.format('%.0f', last_place)) end
if #answer > 0 then call('SET', seal, cmsgpack.pack({number, answer}), 'PX', 3600000) end
return answer
