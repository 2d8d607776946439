"""Prometheus' own tools read the rules, the queries of the dashboards and the configurations."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from tools.dashboards import DASHBOARDS, FOLDER

OBSERVE = Path("deploy/observe")


def program(package: str, name: str) -> str:
    """The path of a program of a Debian package, which is not installed."""
    found = subprocess.run(
        ["deploy/testing/debian-program.sh", package, name], check=False, capture_output=True, text=True
    )
    if found.returncode:
        pytest.skip(f"{name} cannot be had here: {found.stderr}")
    return found.stdout.strip()


def run(*command: str) -> None:
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    """`promtool test rules` evaluates the rules over an hour of made-up values."""
    run(program("prometheus", "promtool"), "test", "rules", str(OBSERVE / "alerts.test.yml"))


def test_the_configurations_are_valid() -> None:
    """Prometheus and Alertmanager start with them."""
    run(program("prometheus", "promtool"), "check", "config", str(OBSERVE / "prometheus.yml"))
    run(program("prometheus-alertmanager", "amtool"), "check-config", str(OBSERVE / "alertmanager.yml"))


def test_the_queries_of_the_dashboards_are_valid(tmp_path: Path) -> None:
    """Grafana replaces its variables and sends them as they are, so an invalid one would only be seen in a panel."""
    panels = [panel for name in DASHBOARDS for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "5m").replace("$job", ".+")}
        for number, query in enumerate(queries)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    run(program("prometheus", "promtool"), "check", "rules", str(file))
