"""What the Kubernetes manifests allow: rights of pods, permissions of accounts, and who reaches whom."""

import ipaddress
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.kustomize import Manifest

from builder.kubernetes.manifests import CONTAINER
from tests.unit.deploy import manifests
from tests.unit.deploy.manifests import NAMES, container_of, environment_of, of_kind, pod_of, workloads
from tests.unit.deploy.test_kubernetes import SERVICES, component, labels_of

PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"]
BACKENDS = {"redis", "nats", "minio", "registry"}
Rule = dict[str, Any]


def is_sandbox(workload: Manifest) -> bool:
    return bool(workload["metadata"]["namespace"] == "swell-builders")


@pytest.mark.parametrize("name", NAMES)
def test_pods_of_the_release_have_the_level_restricted(name: str) -> None:
    """The namespace enforces it.

    Source: Kubernetes, "Pod Security Standards", https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    namespace = manifests.get(name, "Namespace", "swell")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads(name):
        if is_sandbox(workload):
            continue
        pod, container = pod_of(workload), container_of(workload)
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


@pytest.mark.parametrize("name", NAMES)
def test_sandboxes_have_the_rights_of_those_of_compose(name: str) -> None:
    """The least set with which steps run, found with containers; nothing else of the node but one device."""
    tried = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]["builder"]["cap_add"]
    for workload in workloads(name):
        if not is_sandbox(workload):
            continue
        context = container_of(workload)["securityContext"]
        assert context["privileged"] is False
        assert context["readOnlyRootFilesystem"]
        assert context["capabilities"]["drop"] == ["ALL"]
        assert sorted(context["capabilities"]["add"]) == sorted(tried)
        paths = [volume["hostPath"] for volume in pod_of(workload)["volumes"] if "hostPath" in volume]
        assert paths == [{"path": "/dev/net/tun", "type": "CharDevice"}]


@pytest.mark.parametrize("name", NAMES)
def test_no_pod_has_more_of_the_cluster_than_it_needs(name: str) -> None:
    """Only a builder of Jobs calls the API of the cluster; every container has a limit of memory."""
    for workload in workloads(name):
        pod, container = pod_of(workload), container_of(workload)
        calls_api = name == "overlays/jobs" and component(workload) == "builder"
        assert pod["automountServiceAccountToken"] is calls_api
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert container["resources"]["limits"]["memory"]
        assert pod["enableServiceLinks"] is False
        assert ":latest" not in container["image"]
        assert ":" in container["image"]
    assert not list(of_kind(name, "ClusterRole", "ClusterRoleBinding", "Secret"))
    assert all(account["automountServiceAccountToken"] is False for account in of_kind(name, "ServiceAccount"))


def test_a_builder_of_jobs_has_the_permissions_of_its_engine() -> None:
    """These calls are in builder/kubernetes/engine.py, and no others; they are for the namespace of Jobs only."""
    (role,) = of_kind("overlays/jobs", "Role")
    (binding,) = of_kind("overlays/jobs", "RoleBinding")
    builder = manifests.get("overlays/jobs", "Deployment", "swell-builder")

    assert {(*rule["apiGroups"], *rule["resources"]): sorted(rule["verbs"]) for rule in role["rules"]} == {
        ("batch", "jobs"): ["create", "delete", "get", "list"],
        ("", "secrets"): ["create"],
        ("", "pods"): ["get", "list"],
        ("", "pods/log"): ["get"],
    }
    assert role["metadata"]["namespace"] == environment_of(builder)["SWELL_KUBERNETES_NAMESPACE"] == "swell-builders"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": pod_of(builder)["serviceAccountName"],
            "namespace": builder["metadata"]["namespace"],
        }
    ]
    assert builder["metadata"]["namespace"] == "swell"  # a step that leaves its pod is not beside the builder
    for other in set(NAMES) - {"overlays/jobs"}:
        assert not list(of_kind(other, "Role", "RoleBinding"))


def test_pods_of_jobs_have_an_account_without_permissions() -> None:
    """Their account is bound to no role."""
    account = environment_of(manifests.get("overlays/jobs", "Deployment", "swell-builder"))[
        "SWELL_KUBERNETES_SERVICE_ACCOUNT"
    ]
    subjects = [subject["name"] for each in of_kind("overlays/jobs", "RoleBinding") for subject in each["subjects"]]

    assert manifests.get("overlays/jobs", "ServiceAccount", account)["metadata"]["namespace"] == "swell-builders"
    assert account not in subjects


@pytest.mark.parametrize("name", NAMES)
def test_builds_are_limited_by_a_quota(name: str) -> None:
    """The namespace of builds has one, so that they cannot use the whole cluster."""
    (quota,) = of_kind(name, "ResourceQuota")

    assert quota["metadata"]["namespace"] == "swell-builders"
    assert quota["spec"]["hard"].keys() == {"pods", "count/jobs.batch", "limits.memory"}


# --- networks


def policy_of(name: str, workload: Manifest) -> Manifest:
    """Return the only policy that selects the pods of *workload* by their labels."""
    (policy,) = [
        each
        for each in of_kind(name, "NetworkPolicy")
        if each["metadata"]["namespace"] == workload["metadata"]["namespace"]
        and (selector := each["spec"]["podSelector"].get("matchLabels"))
        and selector.items() <= labels_of(workload).items()
    ]
    return policy


def sources(policy: Manifest, port: str) -> set[str]:
    """Return the components whose pods may connect to *port*; `*` for everything."""
    found = set[str]()
    for rule in policy["spec"]["ingress"]:
        if "ports" in rule and port not in {each["port"] for each in rule["ports"]}:
            continue
        if "from" not in rule:
            return {"*"}
        found |= {each["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for each in rule["from"]}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_has_a_policy_for_both_directions(name: str) -> None:
    """A pod without a policy would accept and send everything."""
    for workload in workloads(name):
        assert sorted(policy_of(name, workload)["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    refuse = manifests.get(name, "NetworkPolicy", "swell-refuse")
    assert refuse["metadata"]["namespace"] == "swell-builders"
    assert refuse["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("name", NAMES)
def test_clients_reach_two_ports_only(name: str) -> None:
    """The API with the pulls, and the signed links. gRPC is for the gateway."""
    for workload in workloads(name):
        policy, ports = policy_of(name, workload), {each["name"] for each in container_of(workload)["ports"]}
        if component(workload) not in SERVICES:
            continue
        for port in ports - {"operator"}:
            allowed = {"*"} if port in {"http", "data"} else {"gateway"}
            assert sources(policy, port) == (set() if component(workload) == "scanner" else allowed)


def test_backends_accept_services_only() -> None:
    """Neither clients nor Jobs, and with no way out."""
    policy = manifests.get("overlays/trial", "NetworkPolicy", "swell-trial")
    labels = [labels_of(each) for each in workloads("overlays/trial") if component(each) in BACKENDS]

    assert sources(policy, "any") == {"gateway", "registry-proxy", "metrics", "builder"}
    assert len(labels) == len(BACKENDS)
    assert all(policy["spec"]["podSelector"]["matchLabels"].items() <= each.items() for each in labels)
    assert "egress" not in policy["spec"]


@pytest.mark.parametrize("name", NAMES)
def test_steps_in_the_pod_of_a_builder_reach_no_private_network(name: str) -> None:
    """A policy cannot distinguish a builder from its steps, so the sandbox rejects these networks."""
    environment = environment_of(manifests.get(name, "Deployment", "swell-builder"))
    denied = {ipaddress.ip_network(each) for each in environment["SWELL_DENIED_NETWORKS"].split(",")}

    assert {ipaddress.ip_network(each) for each in PRIVATE} <= denied
    assert {"168.63.129.16/32", "192.0.0.192/32"} <= {str(each) for each in denied}


def test_jobs_reach_the_internet_and_the_object_store_only() -> None:
    """A step that leaves its sandbox does not reach Redis, NATS or the services."""
    (policy,) = [
        each
        for each in of_kind("overlays/jobs", "NetworkPolicy")
        if each["spec"]["podSelector"].get("matchLabels") == {"app.kubernetes.io/name": "swell-build"}
    ]
    assert policy["metadata"]["namespace"] == "swell-builders"
    assert CONTAINER == "build"
    assert "ingress" not in policy["spec"]
    dns, store, internet = policy["spec"]["egress"]
    assert {each["port"] for each in dns["ports"]} == {53}
    assert [each["port"] for each in store["ports"]] == [443]
    assert internet["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}}]


@pytest.mark.parametrize("name", NAMES)
def test_only_services_that_read_registries_reach_the_internet(name: str) -> None:
    """Gateway and metrics connect to backends and services."""
    for workload in workloads(name):
        if component(workload) in SERVICES:
            rules: list[Rule] = policy_of(name, workload)["spec"]["egress"]
            cidrs = [each["ipBlock"] for rule in rules for each in rule.get("to", ()) if "ipBlock" in each]
            internet = [each for each in cidrs if each["cidr"] == "0.0.0.0/0"]
            assert bool(internet) == (component(workload) in {"registry-proxy", "builder", "scanner"})
            assert all(each["except"] == PRIVATE for each in internet)
