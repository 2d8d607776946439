"""A real Prometheus scrapes the real services and evaluates the alert rules and the queries of the dashboards."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from tools.dashboards import DASHBOARDS, FOLDER

from swell_embedded.ports import OPERATED, Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.client import until
from tests.e2e.environment import of_this_machine
from tests.e2e.upstreams import running

OBSERVE = Path("deploy/observe").absolute()


@pytest.fixture(scope="module")
async def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a Prometheus with the jobs of deploy/observe/prometheus.yml, each with its service of *stack*."""
    command = ("deploy/testing/debian-program.sh", "prometheus", "prometheus")
    found = await asyncio.to_thread(subprocess.run, command, check=False, capture_output=True, text=True)
    if found.returncode:
        pytest.skip(f"prometheus cannot be had here: {found.stderr}")
    home = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OBSERVE / "alerts.yml")]
    del config["alerting"]
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{stack.ports.operator_of(job['job_name'])}"]}]
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    where = f"127.0.0.1:{Ports.free().gateway}"
    program = Program(
        name="prometheus",
        command=(
            found.stdout.strip(),
            f"--config.file={home}/prometheus.yml",
            f"--storage.tsdb.path={home}/data",
            f"--web.listen-address={where}",
        ),
        environment=of_this_machine(),
        ready=probes.http(f"http://{where}/-/ready"),
    )
    async with running(program, home):
        yield f"http://{where}"


async def api(url: str, path: str, **parameters: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(f"{url}/api/v1/{path}", params=parameters) as response:
        answer = await response.json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]


async def test_prometheus_reads_every_service(prometheus: str) -> None:
    """The text of the operator ports is what its parser expects."""

    async def up() -> set[str] | None:
        found = {each["metric"]["job"] for each in (await api(prometheus, "query", query="up == 1"))["result"]}
        return found if found == set(OPERATED) else None

    await until(up)


async def test_the_rules_are_evaluated_without_errors(prometheus: str) -> None:
    """No alert about a missing instance fires while everything runs."""

    async def evaluated() -> list[dict[str, Any]] | None:
        (group,) = (await api(prometheus, "rules"))["groups"]
        return group["rules"] if {rule["health"] for rule in group["rules"]} == {"ok"} else None

    rules = {rule["name"]: rule for rule in await until(evaluated)}
    await test_prometheus_reads_every_service(prometheus)

    async def quiet() -> bool:
        alerts = (await api(prometheus, "alerts"))["alerts"]
        return not {alert["labels"]["alertname"] for alert in alerts} & {"SwellInstanceDown", "SwellServiceMissing"}

    await until(quiet)
    assert len(rules) > 15


async def test_every_panel_gets_an_answer(prometheus: str) -> None:
    """Grafana sends these queries after it has replaced its variables."""
    for name in DASHBOARDS:
        for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".+")
                await api(prometheus, "query", query=query)
