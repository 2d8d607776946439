"""docker-compose.yml: what a reader of it may rely on, without a Docker daemon."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from tools.dashboards import DATASOURCE

from swell.settings import settings_of

ROOT = Path(__file__).parents[3]
COMPOSE = yaml.load((ROOT / "docker-compose.yml").read_text(), yaml.CSafeLoader)
SERVICES = {
    "gateway": "gateway",
    "registry-proxy": "registry_proxy",
    "builder": "builder",
    "metrics": "metrics",
    "scanner": "scanner",
}
PINNED = re.compile(r"\$\{SWELL_[A-Z_]+:-[a-z0-9./-]+:[A-Za-z0-9][A-Za-z0-9.-]+\}")


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = COMPOSE["services"][name]
    return found


@pytest.mark.parametrize(("name", "module"), SERVICES.items())
def test_every_variable_is_a_setting_of_its_service(name: str, module: str) -> None:
    """A variable that no service reads misleads the operator."""
    settings = importlib.import_module(f"{module}.settings").Settings
    known = {each.variable for each in settings_of(settings)}

    names = set(service(name)["environment"])

    assert {each for each in names if each not in known and each.removesuffix("_FILE") not in known} == set()


@pytest.mark.parametrize(("name", "module"), SERVICES.items())
def test_every_required_setting_is_set(name: str, module: str) -> None:
    """Else the service ends at its start."""
    settings = importlib.import_module(f"{module}.settings").Settings
    variables = set(service(name)["environment"])

    for variable, _, _, is_required in settings_of(settings):
        if is_required:
            assert {variable, f"{variable}_FILE"} & variables, variable


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_more_rights_than_it_needs(name: str) -> None:
    """Only those that make sandboxes add capabilities."""
    found = service(name)

    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert "privileged" not in found
    assert ("cap_add" in found) == (name in {"builder", "scanner"})
    assert found["mem_limit"]
    assert found["pids_limit"]


def test_the_gateway_keeps_its_journal_in_a_volume() -> None:
    """Its root is read-only, and a removed container loses all but volumes with a name."""
    folder = service("gateway")["environment"]["SWELL_JOURNAL"]
    mounts = [volume.split(":") for volume in service("gateway")["volumes"]]

    assert [name for name, path, *options in mounts if folder.startswith(f"{path}/") and not options] == ["gateway"]
    assert "gateway" in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_certificates_are_those_of_all_services(name: str) -> None:
    """One with certificates does not answer one without."""
    added = yaml.safe_load((ROOT / "deploy/compose/mtls.yml").read_text())
    found = added["services"][name]

    files = {each.removeprefix("/run/secrets/") for each in found["environment"].values()}
    assert files == set(found["secrets"]) == set(added["secrets"])
    assert set(found["environment"]) == {f"SWELL_RPC_{file}_FILE" for file in ("CA", "CERTIFICATE", "CERTIFICATE_KEY")}
    assert added["services"].keys() == SERVICES.keys()


def test_the_certificate_is_for_the_names_by_which_services_are_called() -> None:
    """gRPC refuses another name. Probes in the containers use `localhost`."""
    script = ROOT / "deploy/compose/certificates.py"
    printed = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, timeout=60).stdout
    authority, certificate = x509.load_pem_x509_certificates(printed.partition(b"-----BEGIN PRIVATE")[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = set(names.get_values_for_type(x509.DNSName))
    called = {
        address.partition(":")[0]
        for variable, address in service("gateway")["environment"].items()
        if variable in {"SWELL_REGISTRY_PROXY", "SWELL_BUILDER", "SWELL_METRICS"}
    }

    certificate.verify_directly_issued_by(authority)
    assert called | {"localhost"} <= hosts
    assert printed.count(b"PRIVATE KEY-----") == 2  # one key: that of the authority is not kept


def test_only_the_proxy_publishes_ports() -> None:
    """A published port could be had by one replica only."""
    published = [name for name, each in COMPOSE["services"].items() if "ports" in each]
    assert {name for name in published if "profiles" not in service(name)} == {"proxy"}
    assert published == ["proxy", "tls", "grafana"]
    assert service("grafana")["ports"] == ["${SWELL_GRAFANA_BIND:-127.0.0.1}:3000:3000"]


@pytest.mark.parametrize("name", ["prometheus", "alertmanager", "grafana", "collector", "traces"])
def test_observers_see_metrics_and_no_backends(name: str) -> None:
    """They start with the profile only, have no rights, and cannot reach Redis, NATS or the object store."""
    found = service(name)
    assert found["profiles"] == ["observe"]
    assert found["read_only"] and found["cap_drop"] == ["ALL"] and found["mem_limit"]
    assert not {"backends", "edge", "upstream"} & set(found["networks"])
    assert ("services" in found["networks"]) == (name in {"prometheus", "collector"})


def test_mounted_files_are_in_the_tree() -> None:
    """Docker creates an empty folder in the place of a missing file, and the program does not start."""
    for each in COMPOSE["services"].values():
        for volume in each.get("volumes", ()):
            if volume.startswith("./") and not volume.startswith("./deploy/compose/config:"):
                assert (ROOT / volume.partition(":")[0]).exists(), volume


def test_the_programs_of_the_profile_observe_know_each_other() -> None:
    """A data source, a receiver or a store under another name would stay empty without an error."""
    folder = ROOT / "deploy/observe"
    collector = yaml.safe_load((folder / "collector.yml").read_text())
    sources = yaml.safe_load((folder / "grafana/datasources/swell.yml").read_text())["datasources"]
    tempo = yaml.safe_load((folder / "tempo.yml").read_text())
    hosts = {re.sub(r"^http://|:\d+$", "", source["url"]) for source in sources}
    stored = collector["exporters"]["otlp"]["endpoint"]
    received = tempo["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
    assert hosts | {stored.partition(":")[0]} <= set(COMPOSE["services"])
    assert stored.rpartition(":")[2] == received.rpartition(":")[2]
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert str(tempo["server"]["http_listen_port"]) in next(
        source["url"] for source in sources if source["type"] == "tempo"
    )
    assert next(source["uid"] for source in sources if source["type"] == "prometheus") == DATASOURCE["uid"]


def test_clients_and_backends_share_no_network() -> None:
    """An attacker who controls the proxy still has to get through a service."""
    backends = {name for name, each in COMPOSE["services"].items() if each["networks"] == ["backends"]}

    assert backends == {"redis", "nats", "minio", "registry"}
    assert not {"backends", "services"} & set(service("proxy")["networks"])
    assert all(COMPOSE["networks"][name]["internal"] for name in ("edge", "services", "backends"))


def test_build_steps_cannot_reach_the_networks_of_services() -> None:
    """The builder itself is in them."""
    denied = service("builder")["environment"]["SWELL_DENIED_NETWORKS"]

    for name in ("edge", "services", "backends"):
        assert COMPOSE["networks"][name]["ipam"]["config"][0]["subnet"] in denied


def test_images_are_pinned() -> None:
    """Tomorrow's `docker compose up` starts what today's did."""
    for name, each in COMPOSE["services"].items():
        image = each["image"]
        assert PINNED.fullmatch(image) or image == f"${{SWELL_IMAGES:-swell}}-{name}:${{SWELL_VERSION:-latest}}", name


def test_a_health_check_waits_for_its_program_and_then_takes_its_time(tmp_path: Path) -> None:
    """A container that waits for another one starts when that is ready; checks of 10 idle containers took two thirds of
    a core when each ran once a second. After a failure, checks are quick again. Docker would end the check of
    a program that hangs after a minute, without its message."""
    marker, calls = tmp_path / "marker", tmp_path / "calls"
    script = (ROOT / "deploy/compose/healthy").read_text().replace("/tmp/.healthy", str(marker))
    functions = f'sleep() {{ echo "sleep $1" >> {calls}; }}\nlook() {{ echo look >> {calls}; echo why; {{}}; }}\n'
    functions += f"date() {{ echo $((100 + $(grep -c look {calls}) * seconds)); }}\nseconds=0\n"

    def run(look: str) -> tuple[int, str, list[str]]:
        calls.write_text("")
        text = functions.replace("{}", look) + script
        done = subprocess.run(["sh", "-c", text, "healthy", "look"], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, calls.read_text().split("\n")[:-1]

    third = f'[ "$(grep -c look {calls})" = 3 ]'
    assert run(third) == (0, "", ["look", "sleep 0.2", "look", "sleep 0.2", "look"])
    assert run("true") == (0, "", ["sleep 20", "look"])
    status, message, called = run("false")
    assert (status, message, called[:3]) == (1, "why\n", ["sleep 20", "look", "sleep 0.2"])
    assert called.count("look") == 50
    functions = functions.replace("seconds=0", "seconds=6")
    assert run("false") == (1, "why\n", ["look", "sleep 0.2", "look"])
    assert run("true") == (0, "", ["look"])


def test_every_choice_is_in_the_example() -> None:
    """`.env.example` has each variable with its default, under a comment that explains it."""
    text = (ROOT / ".env.example").read_text()
    used = re.findall(r"\$\{(SWELL_[A-Z0-9_]+):-([^}]*)\}", (ROOT / "docker-compose.yml").read_text())
    described = dict(re.findall(r"^#([A-Z][A-Z0-9_]+)=(.*)$", text, re.MULTILINE))

    assert {name: value for name, value in described.items() if name != "COMPOSE_FILE"} == dict(used)
    for group in re.split(r"\n\s*\n", text):
        lines = group.split("\n")
        assert lines[0].startswith("# ") or not any(line.startswith("#SWELL") for line in lines), group


def test_every_secret_is_created_by_init() -> None:
    """A secret without a file stops `docker compose up`."""
    script = (ROOT / "deploy/compose/init").read_text()

    for name, each in COMPOSE["secrets"].items():
        assert each["file"] == f"deploy/compose/secrets/{name}"
        assert re.search(rf"keep {name}\b|for name in [^;]*\b{name}\b", script), name


def test_builds_may_end_before_their_builder_is_killed() -> None:
    """A build takes at most 15 minutes by default."""
    assert service("builder")["stop_grace_period"] == "16m"


@pytest.mark.parametrize("name", ["Caddyfile", "Caddyfile.tls"])
def test_no_client_can_take_a_gateway_out_of_its_proxy(name: str) -> None:
    """Caddy counts a request that its client breaks off as a failure of the gateway: every 3 s one was enough to make
    it answer 503 to all others. Without `fail_duration` it counts none, and a retry has to take another gateway."""
    lines = (ROOT / "deploy/compose" / name).read_text().split("\n")
    options = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("\t") and line.split()}

    assert "fail_duration" not in options
    assert options["lb_policy"] == ["round_robin"]
    assert int(options["lb_retries"][0]) > 1
