"""The manifests in deploy/kustomize, as `kustomize build` gives them.

Variants add and delete objects of the base, and replace their fields.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from tools.kustomize import FOLDER, Key, Manifest, key_of

KUBERNETES = "1.34"
CRDS = Path("deploy/testing/cluster/crds")
VARIANTS = sorted(str(path.parent.relative_to(FOLDER)) for path in FOLDER.glob("[co]*/*/kustomization.yaml"))
NAMES = ["base", *VARIANTS]


@cache
def manifests(name: str) -> dict[Key, Manifest]:
    """Return the objects of the base or of a variant, with those of the base."""
    if name == "base":
        return {key_of(each): each for each in _load("base/swell.yaml")}
    objects = dict(manifests("base"))
    (fields,) = _load(f"{name}/kustomization.yaml")
    for patch in fields.get("patches", ()):
        if target := patch.get("target"):
            (operations,) = _load(f"{name}/{patch['path']}")
            replaced = {operation["path"].removeprefix("/"): operation["value"] for operation in operations}
            objects[Key(**target)] = {**objects[Key(**target)], **replaced}
        else:
            for deleted in _load(f"{name}/{patch['path']}"):
                del objects[key_of(deleted)]
    return objects | {key_of(each): each for each in _load(f"{name}/added.yaml")}


def of_kind(name: str, *kinds: str) -> Iterator[Manifest]:
    yield from (each for each in manifests(name).values() if each["kind"] in kinds)


def get(name: str, kind: str, object_name: str) -> Manifest:
    return next(each for each in of_kind(name, kind) if each["metadata"]["name"] == object_name)


def workloads(name: str) -> Iterator[Manifest]:
    yield from of_kind(name, "Deployment", "StatefulSet")


def pod_of(workload: Manifest) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


def container_of(workload: Manifest) -> dict[str, Any]:
    (container,) = pod_of(workload)["containers"]
    assert isinstance(container, dict)
    return container


def environment_of(workload: Manifest) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container_of(workload)["env"]}


def validate(manifest: Manifest) -> None:
    """Raise an exception unless a cluster would accept the fields of *manifest*, and ignores none of them."""
    _validate(json.dumps(manifest, sort_keys=True))


@cache  # variants have most objects of the base, and each validation reads all schemas of Kubernetes
def _validate(document: str) -> None:
    manifest = json.loads(document)
    if schema := _custom_schemas().get((manifest["apiVersion"], manifest["kind"])):
        jsonschema.validate(manifest, schema)
    else:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@cache
def _custom_schemas() -> dict[tuple[str, str], dict[str, Any]]:
    schemas = {}
    for path in CRDS.glob("*.json"):
        spec = json.loads(path.read_text())["spec"]
        for version in spec["versions"]:
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            schemas[key] = _closed(version["schema"]["openAPIV3Schema"])
            schemas[key]["properties"]["metadata"] = {"type": "object"}
    return schemas


def _closed(schema: Any) -> Any:
    """Return *schema* so that it refuses unknown fields, as the API server does with fieldValidation=Strict."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(pattern := schema.get("pattern"), str):
        closed["pattern"] = pattern.replace("^(?i)", "(?i)^")  # Go accepts flags anywhere, Python only at the start
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        closed.setdefault("additionalProperties", False)
    return closed


def _load(file: str) -> list[Any]:
    path = FOLDER / file
    return [each for each in yaml.load_all(path.read_text(), yaml.CSafeLoader) if each] if path.exists() else []
