"""`python -m tools.dashboards`: write the Grafana dashboards in deploy/observe/dashboards/ from the tables below.

Source: Grafana, "Dashboard JSON model", https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path("deploy/observe/dashboards")
DATASOURCE = {"type": "prometheus", "uid": "swell-prometheus"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 3
_RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """A graph: queries by their legends; *unit* is one of Grafana's."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    text: str = ""


def _of(metric: str, labels: str) -> str:
    return f"{metric}{{{labels}}}" if labels else metric


def rate(metric: str, by: str, labels: str = "") -> str:
    return f"sum by ({by}) (rate({_of(metric, labels)}{_RATE}))"


def quantile(part: float, metric: str, by: str, labels: str = "") -> str:
    by = f"{by}, " if by else ""
    return f"histogram_quantile({part}, sum by ({by}le) (rate({_of(f'{metric}_bucket', labels)}{_RATE})))"


def share(part: str, whole: str) -> str:
    return f"{part} / {whole}"


REQUESTS, CALLS, UPSTREAM = "swell_http_seconds_count", "swell_rpc_client_seconds_count", "swell_upstream_seconds_count"
BUILDS, JOBS = "swell_build_seconds_count", "swell_job_seconds_count"

OVERVIEW = (
    Panel("Requests", {"{{route}}": rate(REQUESTS, "route")}, "reqps"),
    Panel(
        "Errors of this server",
        {"{{route}} {{status}}": rate(REQUESTS, "route, status", 'status=~"5.."')},
        "reqps",
        "Responses 5xx. 503 and 504 are also sent while a registry fails.",
    ),
    Panel(
        "Duration of requests (95 %)",
        {"{{route}}": quantile(0.95, "swell_http_seconds", "route", 'route!~".*logs.*|/v2/manifests"')},
        "s",
        "Without pulls, which may wait for a build, and log streams.",
    ),
    Panel("Failed calls between services", {"{{callee}} {{code}}": rate(CALLS, "callee, code", 'code!="OK"')}, "reqps"),
    Panel("Duration of calls (95 %)", {"{{callee}}": quantile(0.95, "swell_rpc_client_seconds", "callee")}, "s"),
    Panel("Event-loop lag (99 %)", {"{{job}}": quantile(0.99, "swell_event_loop_lag_seconds", "job")}, "s"),
    Panel("Instances", {"{{job}}": "count by (job) (swell_service_info)"}),
    Panel("Memory", {"{{job}} {{instance}}": 'process_resident_memory_bytes{job=~"$job"}'}, "bytes"),
    Panel(
        "Processor", {"{{job}} {{instance}}": f'rate(process_cpu_seconds_total{{job=~"$job"}}{_RATE})'}, "percentunit"
    ),
    Panel("Jobs that were not done", {"{{consumer}} {{outcome}}": rate(JOBS, "consumer, outcome", 'outcome!="done"')}),
    Panel("Lag of consumers", {"{{consumer}}": "max by (consumer) (swell_consumer_pending)"}),
    Panel("Streams", {"{{stream}}": "max by (stream) (swell_stream_bytes)"}, "bytes"),
    Panel("Dead letters", {"messages": 'max(swell_stream_messages{stream="DEAD"})'}),
    Panel(
        "Pools in use", {"{{job}} {{pool}}": "max by (job, pool) (swell_pool_used / swell_pool_limit)"}, "percentunit"
    ),
    Panel("Open files", {"{{job}} {{instance}}": 'process_open_fds{job=~"$job"}'}),
)

PULLS = (
    Panel("Pulls", {"{{method}} {{status}}": rate(REQUESTS, "method, status", 'route="/v2/manifests"')}, "reqps"),
    Panel(
        "Duration of manifests",
        {f"{part:.0%}": quantile(part, "swell_http_seconds", "", 'route="/v2/manifests"') for part in (0.5, 0.95)},
        "s",
        "A pull may wait for its build.",
    ),
    Panel("Pulls and logs that wait for a build", {"{{instance}}": "swell_build_waits"}),
    Panel(
        "Cache hits",
        {
            "{{cache}}": share(
                rate("swell_cache_lookups_total", "cache", 'result="hit"'), rate("swell_cache_lookups_total", "cache")
            )
        },
        "percentunit",
    ),
    Panel("Blobs by source", {"{{source}}": rate("swell_blobs_total", "source")}, "reqps"),
    Panel("Bytes of blobs", {"{{instance}}": rate("swell_blob_bytes_total", "instance")}, "Bps"),
    Panel("Requests to registries", {"{{upstream}} {{outcome}}": rate(UPSTREAM, "upstream, outcome")}, "reqps"),
    Panel(
        "Answer time of registries (95 %)", {"{{upstream}}": quantile(0.95, "swell_upstream_seconds", "upstream")}, "s"
    ),
    Panel("Quota left", {"{{upstream}}": "min by (upstream) (swell_upstream_quota_left)"}),
    Panel("Stale images served", {"{{what}}": rate("swell_stale_served_total", "what")}, "reqps"),
    Panel(
        "Spool",
        {"{{instance}} used": "swell_spool_used_bytes", "{{instance}} limit": "swell_spool_limit_bytes"},
        "bytes",
    ),
    Panel("Calls of the registry-proxy (95 %)", {"{{method}}": quantile(0.95, "swell_rpc_seconds", "method")}, "s"),
)

BUILDS_AND_SCANS = (
    Panel("Builds", {"{{state}}": "max by (state) (swell_builds)"}),
    Panel("Oldest that waits", {"{{state}}": "max by (state) (swell_oldest_seconds)"}, "s"),
    Panel("Ends of builds", {"{{kind}} {{outcome}}": rate(BUILDS, "kind, outcome")}, "ops"),
    Panel("Wait until the first attempt (95 %)", {"{{kind}}": quantile(0.95, "swell_build_wait_seconds", "kind")}, "s"),
    Panel(
        "Duration of builds (95 %)",
        {"{{kind}}": quantile(0.95, "swell_build_seconds", "kind", 'outcome="succeeded"')},
        "s",
    ),
    Panel("Duration of phases (95 %)", {"{{phase}}": quantile(0.95, "swell_build_phase_seconds", "phase")}, "s"),
    Panel("Running now", {"{{instance}} {{kind}} {{phase}}": "swell_builds_running"}),
    Panel(
        "Slots in use",
        {"{{consumer}}": "sum by (consumer) (swell_jobs_running) / sum by (consumer) (swell_job_slots)"},
        "percentunit",
    ),
    Panel("BuildKit daemons", {"{{instance}} {{state}}": "swell_buildkit_daemons"}),
    Panel("Running workers", {"{{kind}}": "max by (kind) (swell_worker_programs)"}),
    Panel("Open scans", {"scans": "max(swell_scans_open)"}),
    Panel("Age of the vulnerability database", {"{{instance}}": "swell_scan_database_age_seconds"}, "s"),
    Panel("Watchers of logs", {"{{instance}}": "swell_watchers", "{{instance}} builds": "swell_watched_builds"}),
    Panel("Jobs", {"{{consumer}} {{outcome}}": rate(JOBS, "consumer, outcome")}, "ops"),
    Panel("Duration of jobs (95 %)", {"{{consumer}}": quantile(0.95, "swell_job_seconds", "consumer")}, "s"),
)

DASHBOARDS = {
    "overview": ("Swell: overview", OVERVIEW),
    "pulls": ("Swell: pulls and registries", PULLS),
    "builds": ("Swell: builds and scans", BUILDS_AND_SCANS),
}


def dashboard(name: str) -> str:
    """Return the JSON of the dashboard *name*."""
    title, panels = DASHBOARDS[name]
    document = {
        "uid": f"swell-{name}",
        "title": title,
        "tags": ["swell"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_jobs()]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(document, indent=1) + "\n"


def _jobs() -> dict[str, Any]:
    return {
        "name": "job",
        "label": "service",
        "type": "query",
        "datasource": DATASOURCE,
        "query": "label_values(swell_service_info, job)",
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": DATASOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
            for at, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def main() -> None:
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(dashboard(name))


if __name__ == "__main__":
    main()
