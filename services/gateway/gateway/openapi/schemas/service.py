"""Usage counts, errors and health."""

SCHEMAS = {
    "MetricAnswer": "A usage count.",
    "ErrorBody": "An error.",
    "HealthStatus": "What works of this server.",
}

PROPERTIES = {
    "MetricAnswer": {
        "metric": "What is counted: `builds`, `pulls`, `fusion`, `mirrors` or `scans`.",
        "arch": "The requested architecture; missing if none was requested.",
        "count": "The total, including anonymous use.",
        "orgs": "The count of each organisation; missing without one.",
    },
    "ErrorBody": {
        "message": "What went wrong.",
        "code": "The kind of the error; `docs/errors.md` lists all of them.",
        "side": "Who can fix the error: `client`, `upstream` (a registry), or `server` (its operator).",
        "next": "How to fix it, if the message does not say it.",
        "requestId": "Id of the HTTP request, 32 hex digits, for the operator's logs.",
        "traceId": "Id of the trace in all services, 32 hex digits; a `traceparent` of the client is in the log.",
    },
    "HealthStatus": {
        "status": "`UP` while anything useful works, otherwise `DOWN`.",
        "degraded": "True if only a part works; missing otherwise.",
        "works": "What works, if it is not everything.",
        "fails": "What does not work, with the reasons.",
        "reason": "Why nothing works.",
        "engine": "Engines of the builders for container files, such as `buildkit 0.34.2`.",
    },
}
