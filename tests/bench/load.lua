-- wrk's script: sends the JSON file named after `--` (without one: GETs), and ends with one line of JSON.

function init(args)
  if args[1] then
    wrk.method = "POST"
    wrk.body = io.open(args[1]):read("*a")
    wrk.headers["Content-Type"] = "application/json"
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"microseconds":%d,"p50":%d,"p99":%d,"p999":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status
  ))
end
