"""Dashboards and alert rules use metrics that exist, and each alert is explained and tested."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.dashboards import DASHBOARDS, FOLDER, dashboard

from tests.unit.docs.metrics import LABELS_OF_PROMETHEUS, exported

OBSERVE = Path("deploy/observe")
RULES: list[dict[str, Any]] = yaml.load((OBSERVE / "alerts.yml").read_text(), yaml.CSafeLoader)["groups"][0]["rules"]
RUNBOOK = Path("docs/deploy/alerts.md").read_text()
OF_THE_CLIENT = frozenset({"up", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"})
"""Metrics of Prometheus and of its client library."""

_SELECTOR = re.compile(r"\b((?:swell|process|up)\w*)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)(?:=~|!~|!=|=)")
_BY = re.compile(r"\bby \(([^)]*)\)")


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in RULES)
    for name in DASHBOARDS:
        for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]:
            yield from (target["expr"] for target in panel["targets"])


@pytest.mark.parametrize("query", list(queries()))
def test_queries_use_metrics_and_labels_that_exist(query: str) -> None:
    """A renamed metric or label would empty a panel, and an alert would never fire."""
    metrics = exported()
    by = {label.strip() for group in _BY.findall(query) for label in group.split(",")}
    found = [(name, matchers) for name, matchers in _SELECTOR.findall(query) if name not in by]
    assert found
    for name, matchers in found:
        assert name in metrics or name in OF_THE_CLIENT, name
        known = metrics.get(name, frozenset()) | LABELS_OF_PROMETHEUS
        assert {*_MATCHER.findall(matchers), *by} <= known, name


@pytest.mark.parametrize("name", DASHBOARDS)
def test_the_dashboards_are_those_of_the_tables(name: str) -> None:
    """`python -m tools.dashboards` writes them; edited files would be overwritten."""
    assert (FOLDER / f"{name}.json").read_text() == dashboard(name)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_alert_is_explained_and_tested(rule: dict[str, Any]) -> None:
    """Whom an alert wakes needs a section that says what to do; a rule without a test may never fire."""
    name = rule["alert"]
    assert f"\n## {name}\n" in RUNBOOK
    assert rule["annotations"]["runbook"] == f"docs/deploy/alerts.md#{name.lower()}"
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert f'alertname="{name}"' in (OBSERVE / "alerts.test.yml").read_text()


def test_each_section_is_that_of_an_alert() -> None:
    """Sections of removed alerts would mislead."""
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in RULES]


def test_prometheus_scrapes_every_service_under_its_name() -> None:
    """Alerts and dashboards use the names of the services as jobs, and compose gives each the same port."""
    config = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    compose = yaml.load(Path("docker-compose.yml").read_text(), yaml.CSafeLoader)
    port = int(compose["x-common"]["SWELL_OPERATOR_LISTEN"].rpartition(":")[2])
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    assert jobs.keys() == {"gateway", "registry-proxy", "builder", "scanner", "metrics"}
    for name, discovery in jobs.items():
        assert name in compose["services"]
        assert (discovery["names"], discovery["port"]) == ([name], port)
