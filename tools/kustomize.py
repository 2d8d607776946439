"""`python -m tools.kustomize`: render the chart in deploy/helm/swell into deploy/kustomize. `make helm` compiles helm.

`base` has pods that build, and your own backends. An overlay changes it; a component only adds objects, so several of
them can be combined.

Source: Kustomize, "Components", https://kubectl.docs.kubernetes.io/guides/config_management/components/
"""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from swell.programs import find

CHART = Path("deploy/helm/swell")
FOLDER = Path("deploy/kustomize")
NAMESPACE = "swell"
KUBERNETES = "1.34.0"
BASE: dict[str, Any] = {
    "createNamespace": True,
    "serverUrl": "https://swell.example.org",
    "s3Endpoint": "https://s3.example.org",
    "buildRepository": "registry.example.org/swell/build",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "overlays/trial": {
        "serverUrl": "http://localhost:9090",
        "s3Endpoint": "",
        "buildRepository": "",
        "trial": {"enabled": True},
    },
    "overlays/jobs": {"builder": {"where": "jobs"}},
    "overlays/autoscale": {
        "keda": {"enabled": True},
        "gateway": {"autoscaling": {"enabled": True}},
        "registryProxy": {"autoscaling": {"enabled": True}},
    },
    "overlays/rpc-tls": {"rpcTls": {"secret": "swell-rpc"}},
    "components/scan": {"scanner": {"enabled": True, "databaseUrl": "https://mirror.example.org/databases"}},
    "components/ingress": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "swell-tls"}},
    "components/http-route": {
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}]}
    },
    "components/observe": {"monitoring": {"serviceMonitor": True, "rules": True, "dashboards": True}},
}
_HEADER = (
    "# Written by `python -m tools.kustomize` from deploy/helm/swell; do not edit it, write an overlay of your own.\n"
)
_HELM_LABELS = ("app.kubernetes.io/managed-by", "helm.sh/chart")

Manifest = dict[str, Any]


class Key(NamedTuple):
    """What names an object in a cluster."""

    kind: str
    namespace: str
    name: str


def key_of(manifest: Manifest) -> Key:
    metadata = manifest["metadata"]
    return Key(manifest["kind"], metadata.get("namespace", ""), metadata["name"])


def render(values: Mapping[str, Any]) -> dict[Key, Manifest]:
    """Return the objects of the chart with *values*, without its test and the labels of Helm."""
    programs = find("helm", "helm") or sys.exit("helm is missing: run 'make helm'")
    options = ["--skip-tests", "--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", "-"]
    command = [str(programs[0]), "template", NAMESPACE, str(CHART), *options]
    done = subprocess.run(command, input=yaml.safe_dump(dict(values)), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    for manifest in manifests:
        _remove_helm_labels(manifest)
    return {key_of(manifest): manifest for manifest in manifests}


def variant(values: Mapping[str, Any]) -> dict[Key, Manifest]:
    """Return the objects of the chart with those of `BASE` and with *values*."""
    return render({**BASE, **values})


def files() -> dict[Path, str]:
    """Return the content of each file below `FOLDER`."""
    base = render(BASE)
    contents = {
        Path("base/kustomization.yaml"): _kustomization("Kustomization", {"resources": ["swell.yaml"]}),
        Path("base/swell.yaml"): _dump(base.values()),
    }
    for name, values in VARIANTS.items():
        contents |= {Path(name) / file: text for file, text in _variant_files(base, variant(values)).items()}
    return contents


def _variant_files(base: dict[Key, Manifest], changed: dict[Key, Manifest]) -> dict[str, str]:
    """Return the files of an overlay, or of a component if *changed* only adds objects to *base*."""
    added = [manifest for key, manifest in changed.items() if key not in base]
    deleted = [_deletion(manifest) for key, manifest in base.items() if key not in changed]
    patched = {
        key: _operations(base[key], changed[key]) for key in base if key in changed and base[key] != changed[key]
    }
    contents: dict[str, str] = {}
    patches: list[dict[str, Any]] = []
    for key, operations in patched.items():
        path = f"changed/{key.kind.lower()}-{key.name}.yaml"
        contents[path] = _HEADER + yaml.safe_dump(operations, sort_keys=False, width=160)
        patches.append({"path": path, "target": key._asdict()})
    if deleted:
        contents["deleted.yaml"] = _dump(deleted)
        patches.append({"path": "deleted.yaml"})
    resources = ["../../base"] if patches else []
    if added:
        contents["added.yaml"] = _dump(added)
        resources.append("added.yaml")
    fields = {"resources": resources} | ({"patches": patches} if patches else {})
    return {"kustomization.yaml": _kustomization("Kustomization" if patches else "Component", fields)} | contents


def _operations(before: Manifest, after: Manifest) -> list[dict[str, Any]]:
    """Return a JSON patch that replaces the fields of *before*, such as `spec`, that differ in *after*."""
    if before.keys() != after.keys():
        raise ValueError(f"{key_of(before)} has other fields: {before.keys() ^ after.keys()}")
    changed = [name for name in before if before[name] != after[name]]
    return [{"op": "replace", "path": f"/{name}", "value": after[name]} for name in changed]


def _deletion(manifest: Manifest) -> Manifest:
    namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": manifest["apiVersion"], "kind": manifest["kind"], "metadata": metadata, "$patch": "delete"}


def _kustomization(kind: str, fields: Mapping[str, Any]) -> str:
    version = "v1beta1" if kind == "Kustomization" else "v1alpha1"
    return _dump([{"apiVersion": f"kustomize.config.k8s.io/{version}", "kind": kind, **fields}])


def _dump(manifests: Any) -> str:
    return _HEADER + yaml.safe_dump_all(manifests, sort_keys=False, width=160)


def _remove_helm_labels(value: Any) -> None:
    if isinstance(value, dict):
        for label in _HELM_LABELS:
            value.pop(label, None)
        for part in value.values():
            _remove_helm_labels(part)
    elif isinstance(value, list):
        for part in value:
            _remove_helm_labels(part)


def main() -> None:
    for path, content in files().items():
        (FOLDER / path).parent.mkdir(parents=True, exist_ok=True)
        (FOLDER / path).write_text(content)


if __name__ == "__main__":
    main()
