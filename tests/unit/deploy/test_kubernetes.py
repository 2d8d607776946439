"""The Kubernetes manifests: valid, with settings that exist, and services that find each other."""

import base64
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.kustomize import FOLDER, VARIANTS, Manifest

from swell import settings
from swell.settings import Setting
from tests.unit.deploy import manifests
from tests.unit.deploy.manifests import NAMES, container_of, environment_of, of_kind, pod_of, workloads

SERVICES = {"gateway", "registry-proxy", "builder", "scanner", "metrics"}
TRIAL = {"redis", "nats", "minio", "registry"}


def component(workload: Manifest) -> str:
    name: str = workload["metadata"]["labels"]["app.kubernetes.io/component"]
    return name


def services(name: str) -> list[Manifest]:
    return [each for each in workloads(name) if component(each) in SERVICES]


def settings_of(workload: Manifest) -> list[Setting]:
    module = importlib.import_module(f"{component(workload).replace('-', '_')}.settings")
    return list(settings.settings_of(module.Settings))


def seconds(duration: str) -> int:
    match = re.fullmatch(r"PT(\d+)S", duration)
    assert match, duration
    return int(match[1])


def test_each_variant_is_in_the_repository() -> None:
    """`python -m tools.kustomize` writes them."""
    assert sorted(VARIANTS) == manifests.VARIANTS


@pytest.mark.parametrize("name", NAMES)
def test_a_cluster_accepts_each_manifest(name: str) -> None:
    """Kubernetes 1.34, without fields that it would ignore; custom resources by the schemas of their projects."""
    for manifest in manifests.manifests(name).values():
        manifests.validate(manifest)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("**/kustomization.yaml")), ids=lambda path: str(path.parent))
def test_kustomizations_name_files_that_exist(path: Path) -> None:
    """A component has no base, so that several can be combined."""
    fields = yaml.safe_load(path.read_text())
    named = [*fields["resources"], *(patch["path"] for patch in fields.get("patches", ()))]

    assert all((path.parent / each).exists() for each in named)
    assert (fields["kind"] == "Component") == ("components" in path.parts)


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_a_setting_of_its_service(name: str) -> None:
    """A misspelt setting would have no effect."""
    for workload in services(name):
        known = {each.variable for each in settings_of(workload)}
        for variable in environment_of(workload):
            assert {variable, variable.removesuffix("_FILE")} & known, (component(workload), variable)


@pytest.mark.parametrize("name", NAMES)
def test_every_required_setting_is_set(name: str) -> None:
    """Otherwise the service stops at its start."""
    for workload in services(name):
        environment = environment_of(workload)
        for variable, _, _, is_required in settings_of(workload):
            assert not is_required or environment.get(variable) or environment.get(f"{variable}_FILE"), variable


@pytest.mark.parametrize("name", NAMES)
def test_services_spread_calls_over_the_pods_of_another(name: str) -> None:
    """The address of a gRPC service is that of a Service without a virtual address: gRPC balances in the client."""
    gateway = environment_of(manifests.get(name, "Deployment", "swell-gateway"))
    for variable in ("SWELL_REGISTRY_PROXY", "SWELL_BUILDER", "SWELL_METRICS"):
        host, _, port = gateway[variable].partition(":")
        service_name, namespace, _ = host.split(".")
        service = manifests.get(name, "Service", service_name)

        assert service["metadata"]["namespace"] == namespace
        assert service["spec"]["clusterIP"] == "None"
        assert {"name": "grpc", "port": int(port)}.items() <= service["spec"]["ports"][0].items()


@pytest.mark.parametrize("name", NAMES)
def test_services_select_pods_with_their_ports(name: str) -> None:
    """A Service with a wrong selector or port has no endpoints, without an error."""
    for service in of_kind(name, "Service"):
        selector = service["spec"]["selector"].items()
        (workload,) = (each for each in workloads(name) if selector <= labels_of(each).items())
        ports = {each["name"]: each["containerPort"] for each in container_of(workload)["ports"]}

        assert workload["metadata"]["namespace"] == service["metadata"]["namespace"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels_of(workload).items()
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in {*ports, *ports.values()}


def labels_of(workload: Manifest) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


@pytest.mark.parametrize("name", NAMES)
def test_pods_may_finish_their_work(name: str) -> None:
    """The kubelet kills a pod after its grace period, which includes the hook before the drain."""
    for workload in services(name):
        pod, environment = pod_of(workload), environment_of(workload)
        hook = container_of(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]

        assert hook + seconds(environment["SWELL_DRAIN"]) < pod["terminationGracePeriodSeconds"]
        if component(workload) == "builder":
            assert seconds(environment["SWELL_BUILD_TIMEOUT"]) < seconds(environment["SWELL_DRAIN"])


@pytest.mark.parametrize("name", NAMES)
def test_probes_use_the_operator_port(name: str) -> None:
    """Liveness depends on no backend; a start may take as long as programs need to be unpacked."""
    for workload in services(name):
        container = container_of(workload)
        paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}

        assert paths == {"startup": "/live", "liveness": "/live", "readiness": "/ready"}
        assert {"name": "operator", "containerPort": 9190} in container["ports"]
        assert environment_of(workload)["SWELL_OPERATOR_LISTEN"] == "0.0.0.0:9190"


@pytest.mark.parametrize("name", NAMES)
def test_each_service_keeps_pods_while_nodes_are_drained(name: str) -> None:
    """One pod of a service at a time is evicted, and a new one starts before an old one stops."""
    budgets = [each["spec"]["selector"]["matchLabels"].items() for each in of_kind(name, "PodDisruptionBudget")]
    for workload in services(name):
        assert sum(budget <= labels_of(workload).items() for budget in budgets) == 1
        assert workload["spec"].get("replicas", 1) >= 1
        if workload["kind"] == "Deployment":
            assert workload["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_calls_between_services_can_be_encrypted() -> None:
    """Every service has the same three files of one Secret, which is no part of the manifests."""
    for workload in services("overlays/rpc-tls"):
        environment, pod = environment_of(workload), pod_of(workload)
        (volume,) = (each["secret"] for each in pod["volumes"] if each["name"] == "rpc")
        files = {f"/etc/swell/rpc/{item['path']}" for item in volume["items"]}

        assert volume["secretName"] == "swell-rpc"
        assert {each for name, each in environment.items() if name.startswith("SWELL_RPC_C")} == files
        mounts = {each["name"]: each["mountPath"] for each in container_of(workload)["volumeMounts"]}
        assert mounts["rpc"] == "/etc/swell/rpc"
    assert len(services("overlays/rpc-tls")) == 4
    assert not [name for name in environment_of(services("base")[0]) if name.startswith("SWELL_RPC_C")]


@pytest.mark.parametrize("name", NAMES)
def test_the_gateway_has_a_folder_for_its_journal(name: str) -> None:
    """Its root is read-only: without a volume, a killed gateway loses counts of pulls while NATS and Redis are away."""
    gateway = manifests.get(name, "Deployment", "swell-gateway")
    mounts = [each["mountPath"] for each in container_of(gateway)["volumeMounts"] if not each.get("readOnly")]

    assert any(environment_of(gateway)["SWELL_JOURNAL"].startswith(f"{mount}/") for mount in mounts)


def test_builders_scale_by_builds_and_never_to_zero() -> None:
    """Waiting builds are in Redis, so the lag of the consumer is no measure; solving packages needs a builder."""
    spec = manifests.get("overlays/autoscale", "ScaledObject", "swell-builder")["spec"]
    (trigger,) = spec["triggers"]
    builder = manifests.get("overlays/autoscale", "Deployment", "swell-builder")
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]

    assert spec["minReplicaCount"] >= 1
    assert trigger["metadata"]["query"] == 'sum(max by (state) (swell_builds{state=~"waiting|ready|running"}))'
    assert trigger["metadata"]["threshold"] == environment_of(builder)["SWELL_BUILD_CONCURRENCY"]
    assert [policy["value"] for policy in down["policies"]] == [1]
    assert "replicas" not in builder["spec"]
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_autoscaled_deployments_have_no_number_of_replicas() -> None:
    """Each `kubectl apply` would reset what the autoscaler has chosen."""
    for scaler in of_kind("overlays/autoscale", "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert "replicas" not in manifests.get("overlays/autoscale", target["kind"], target["name"])["spec"]


def test_alerts_and_dashboards_are_those_of_every_installation() -> None:
    """The chart reads them from deploy/observe; jobs have the names of services."""
    observe = Path("deploy/observe")
    rules = manifests.get("components/observe", "PrometheusRule", "swell-alerts")["spec"]
    dashboards = manifests.get("components/observe", "ConfigMap", "swell-dashboards")["data"]
    monitor = manifests.get("components/observe", "ServiceMonitor", "swell-services")["spec"]

    assert rules == yaml.safe_load((observe / "alerts.yml").read_text())
    assert dashboards == {path.name: path.read_text() for path in observe.glob("dashboards/*.json")}
    assert monitor["jobLabel"] == "app.kubernetes.io/component"
    assert monitor["namespaceSelector"]["matchNames"] == ["swell", "swell-builders"]


@pytest.mark.parametrize("name", ["components/ingress", "components/http-route"])
def test_clients_reach_both_ports_at_the_root(name: str) -> None:
    """Container engines need /v2 at the root of the host; bodies are neither limited nor buffered."""
    (route,) = of_kind(name, "Ingress", "HTTPRoute")
    if route["kind"] == "Ingress":
        (rule,) = route["spec"]["rules"]
        targets = {each["path"]: each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
        annotations = route["metadata"]["annotations"]
        assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
        assert annotations["nginx.ingress.kubernetes.io/proxy-buffering"] == "off"
        assert annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"] == "off"
    else:
        rules: list[dict[str, Any]] = route["spec"]["rules"]
        targets = {each["matches"][0]["path"]["value"]: each["backendRefs"][0]["name"] for each in rules}
        assert all(each["timeouts"] == {"request": "0s"} for each in rules)

    assert targets == {"/blobs/": "swell-data", "/": "swell-gateway"}


def test_the_script_prints_every_key_that_pods_mount() -> None:
    """A pod whose Secret lacks a key does not start. Both namespaces have the same values."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = subprocess.run(["deploy/helm/new-secrets"], capture_output=True, check=True, env={"PATH": search})
    data = {each["metadata"]["namespace"]: each["data"] for each in yaml.safe_load_all(printed.stdout)}

    for name in NAMES:
        for workload in workloads(name):
            for volume in pod_of(workload)["volumes"]:
                secret = volume.get("secret", {"secretName": ""})
                for item in secret["items"] if secret["secretName"] == "swell" else ():
                    assert data[workload["metadata"]["namespace"]][item["key"]], item
    assert data["swell-builders"].items() <= data["swell"].items()
    trial = environment_of(manifests.get("overlays/trial", "Deployment", "swell-builder"))
    host, _, _ = trial["SWELL_BUILD_REPOSITORY"].partition("/")
    assert f'"{host}"'.encode() in base64.b64decode(data["swell"]["registry-auth"])
