-- wrk script: LOAD=set or get, KEYS=number of keys, QUERY=what a get asks besides, BYTES=size of a value, keys drawn at
-- random; with LOAD=fill, sets of one key after the other from FROM on. PAUSE_MS=time that a connection waits before each.
-- VALUES=text: values like those of programs, names and numbers in JSON, instead of letters at random.
local load = os.getenv("LOAD") or "set"
local keys = tonumber(os.getenv("KEYS") or "10000")
local bytes = tonumber(os.getenv("BYTES") or "256")
local letters = {}
local next_key = tonumber(os.getenv("FROM") or "0")
local query = os.getenv("QUERY") or ""
local pause_ms = tonumber(os.getenv("PAUSE_MS") or "0")
local thread_count = 0

function setup(thread)
  thread:set("seed", 1000 + thread_count)
  thread_count = thread_count + 1
end

function init(args)
  math.randomseed(seed)
  -- Values are cut out of this: long enough that hardly two of them near each other have anything in common.
  for at = 1, 4 * 65536 do
    letters[at] = string.char(math.random(97, 122))
  end
  letters = table.concat(letters)
end

if pause_ms > 0 then
  function delay()
    return pause_ms
  end
end

-- A document of about so many bytes; its quotes are escaped, since it goes into a JSON string.
function document()
  local parts, length = {}, 0
  while length < bytes do
    local part = string.format([[{\"id\":%d,\"name\":\"user-%05d\",\"active\":%s,\"score\":%.3f,\"updated\":\"2026-%02d-%02dT%02d:%02d:00Z\"}]],
      math.random(1e9), math.random(1e5), math.random(2) == 1 and "true" or "false", math.random() * 1000, math.random(12),
      math.random(28), math.random(0, 23), math.random(0, 59))
    parts[#parts + 1], length = part, length + #part - 10
  end
  return table.concat(parts, ",")
end

function request()
  local key = string.format("key:%08d", math.random(0, keys - 1))
  if load == "fill" then
    key = string.format("key:%08d", next_key)
    next_key = next_key + 1
  end
  if load == "set" or load == "fill" then
    local from = math.random(1, #letters - bytes)
    local value = letters:sub(from, from + bytes - 1)
    if os.getenv("VALUES") == "text" then
      value = document()
    end
    local body = '{"key":"' .. key .. '","value":"' .. value .. '"}'
    return wrk.format("POST", "/api/set", {["Content-Type"] = "application/json"}, body)
  end
  return wrk.format("GET", "/api/get?key=" .. key .. query)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT rate=%.0f p50_us=%d p99_us=%d failed=%d count=%d\n",
    summary.requests / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99), failed,
    summary.requests))
end
