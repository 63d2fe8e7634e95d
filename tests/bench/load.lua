-- wrk script: LOAD=set or get, KEYS=number of keys, values of 256 bytes, keys drawn at random.
local load = os.getenv("LOAD") or "set"
local keys = tonumber(os.getenv("KEYS") or "10000")
local value = string.rep("v", 256)
local thread_count = 0

function setup(thread)
  thread:set("seed", 1000 + thread_count)
  thread_count = thread_count + 1
end

function init(args)
  math.randomseed(seed)
end

function request()
  local key = string.format("key:%08d", math.random(0, keys - 1))
  if load == "set" then
    local body = '{"key":"' .. key .. '","value":"' .. value .. '"}'
    return wrk.format("POST", "/api/set", {["Content-Type"] = "application/json"}, body)
  end
  return wrk.format("GET", "/api/get?key=" .. key)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format("RESULT rate=%.0f p50_us=%d p99_us=%d failed=%d count=%d\n",
    summary.requests / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99), failed,
    summary.requests))
end
