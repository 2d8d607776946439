"""The chart by the real helm and kustomize, which `make helm` compiles."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import kustomize

from swell.programs import find
from tests.unit.deploy.manifests import validate

pytestmark = pytest.mark.full

BACKENDS = {"s3Endpoint": "https://s3.example.org", "buildRepository": "registry.example.org/swell/build"}


def program(name: str) -> str:
    (path,) = find("helm", name) or pytest.fail(f"{name} is missing: run 'make helm'")
    return str(path)


def helm(*arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    text = yaml.safe_dump(values or {})
    return subprocess.run([program("helm"), *arguments], input=text, capture_output=True, text=True, check=False)


def template(values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    options = ("--kube-version", kustomize.KUBERNETES, "--namespace", "swell", "--values", "-")
    return helm("template", "swell", str(kustomize.CHART), *options, values=values)


def test_the_committed_manifests_are_those_of_the_chart() -> None:
    """`python -m tools.kustomize` writes them; no other file is there."""
    written = {path.relative_to(kustomize.FOLDER): path.read_text() for path in kustomize.FOLDER.glob("**/*.yaml")}

    assert written == kustomize.files()


@pytest.mark.parametrize("name", ["base", *kustomize.VARIANTS])
def test_kustomize_builds_what_helm_renders(name: str, tmp_path: Path) -> None:
    """Patches of an overlay replace and delete whole objects; a component needs a base."""
    folder = kustomize.FOLDER.resolve() / name
    if name.startswith("components/"):
        (tmp_path / "tree").symlink_to(kustomize.FOLDER.resolve())
        fields = {"resources": [str(Path("tree/base"))], "components": [f"tree/{name}"]}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(fields))
        folder = tmp_path
    built = subprocess.run([program("kustomize"), "build", str(folder)], capture_output=True, text=True, check=True)
    objects = {kustomize.key_of(each): each for each in yaml.safe_load_all(built.stdout)}

    assert objects == kustomize.variant(kustomize.VARIANTS.get(name, {}))


def test_helm_finds_no_fault_in_the_chart() -> None:
    """`helm lint --strict`."""
    done = helm(
        "lint",
        "--strict",
        "--kube-version",
        kustomize.KUBERNETES,
        str(kustomize.CHART),
        "--values",
        "-",
        values=BACKENDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_option_together_is_valid() -> None:
    """Options that the committed variants do not have: volumes, certificates, proxies, clients, further settings."""
    values = BACKENDS | {
        "caBundle": {"configMap": "certificates"},
        "proxies": {"https": "http://proxy.example.org:3128", "none": [".svc"]},
        "settings": {"SWELL_TOKEN_TTL": "PT12H"},
        "image": {"pullSecrets": [{"name": "registry"}]},
        "builder": {
            "where": "jobs",
            "workspace": {"storageClass": "fast"},
            "nodeSelector": {"pool": "builds"},
            "tolerations": [{"key": "pool", "operator": "Exists"}],
        },
        "gateway": {
            "secretFiles": {"SWELL_API_KEYS_FILE": "api-keys"},
            "podAnnotations": {"a": "b"},
            "journal": {"storageClass": "shared"},
        },
        "rpcTls": {"secret": "swell-rpc"},
        "networkPolicy": {
            "clients": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
            "registries": [{"ipBlock": {"cidr": "10.2.0.0/16"}}],
            "objectStore": [{"ipBlock": {"cidr": "10.3.0.0/16"}}],
            "gatewayEgress": [{"to": [{"ipBlock": {"cidr": "10.4.0.0/16"}}]}],
        },
        "trial": {"enabled": True},
        "scanner": {"enabled": True, "workspace": {"storageClass": "fast"}},
        "keda": {"enabled": True},
        "ingress": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
        "monitoring": {"serviceMonitor": True, "rules": True, "dashboards": True, "labels": {"release": "prometheus"}},
    }
    done = template(values)

    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    for each in objects:
        validate(each)
    gateway = next(each for each in objects if each["kind"] == "Deployment" and "gateway" in each["metadata"]["name"])
    variables = {each["name"]: each["value"] for each in gateway["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["SWELL_CA_FILE"] == "/etc/swell/ca/ca.crt"
    assert variables["SWELL_API_KEYS_FILE"] == "/etc/swell/secrets/api-keys"
    assert variables["SWELL_TOKEN_TTL"] == "PT12H"
    (claim,) = (each for each in objects if each["kind"] == "PersistentVolumeClaim")
    volumes = gateway["spec"]["template"]["spec"]["volumes"]
    assert {"claimName": claim["metadata"]["name"]} in [each.get("persistentVolumeClaim") for each in volumes]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"buildRepository": "r.example.org/x"}, "set s3Endpoint"),
        ({"s3Endpoint": "https://s3.example.org"}, "set buildRepository"),
        (BACKENDS | {"serverUrl": "https://swell.example.org/path"}, "/serverUrl"),
        (BACKENDS | {"gatway": {}}, "additional properties 'gatway' not allowed"),
        (BACKENDS | {"keda": {"minReplicas": 0}}, "/keda/minReplicas"),
        (BACKENDS | {"builder": {"where": "here"}}, "/builder/where"),
        (BACKENDS | {"gateway": {"settings": {"TOKEN_TTL": "1"}}}, "TOKEN_TTL"),
    ],
)
def test_wrong_values_are_refused_with_their_name(values: dict[str, Any], message: str) -> None:
    """values.schema.json checks them before anything is installed."""
    done = template(values)

    assert done.returncode != 0
    assert message in done.stderr


def test_a_role_takes_the_place_of_keys_of_the_object_store() -> None:
    """No pod names keys that the Secret does not have, and each service's account has the annotation."""
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/swell"}
    done = template({**BACKENDS, "s3Keys": False, "serviceAccountAnnotations": role, "scanner": {"enabled": True}})
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    accounts = [each for each in objects if each["kind"] == "ServiceAccount"]

    assert "s3-access-key" not in done.stdout
    assert len(accounts) >= 5
    assert all(each["metadata"]["annotations"] == role for each in accounts)


def test_every_service_trusts_the_bundle() -> None:
    """Also the one that makes no requests to registries: its backends may have private certificates."""
    done = template({**BACKENDS, "caBundle": {"configMap": "authorities"}, "scanner": {"enabled": True}})
    assert done.returncode == 0, done.stderr
    objects = [
        each for each in yaml.safe_load_all(done.stdout) if each and each["kind"] in {"Deployment", "StatefulSet"}
    ]

    assert len(objects) == 5
    for each in objects:
        (container, *_) = each["spec"]["template"]["spec"]["containers"]
        assert {"name": "SWELL_CA_FILE", "value": "/etc/swell/ca/ca.crt"} in container["env"], each["metadata"]["name"]
