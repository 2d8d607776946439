"""Example bodies for the OpenAPI document, by their titles; tests send each of them to a running server."""

import base64
from collections.abc import Mapping
from typing import Any

IMAGE = "docker.io/library/ubuntu:24.04"
REPOSITORY = "registry.example.org/team/images"
REGISTRY, USER_NAME, PASSWORD = "quay.io", "ada", "secret"
REQUEST_ID = "n3x7q0c2m5v8b1k4j6h9g0f2d3"

_FILE = f"FROM {IMAGE}\nENV GREETING=hello\n"
_ENVIRONMENT = "channels: [conda-forge, bioconda]\ndependencies: [samtools=1.17]\n"
_DEFINITION = f"""\
Bootstrap: docker
From: {IMAGE}
%post
    apt-get update && apt-get install -y jq
%runscript
    exec jq "$@"
"""


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


MIRRORS: Mapping[str, Mapping[str, Any]] = {
    "Two images of one registry": {
        "images": [IMAGE, "docker.io/library/debian:13"],
        "buildRepository": "registry.example.org/mirror",
        "towerAccessToken": "swell_example",
    },
}

CONTAINERS: Mapping[str, Mapping[str, Any]] = {
    "An image as it is": {"containerImage": IMAGE},
    "An image with additions": {
        "containerImage": IMAGE,
        "containerConfig": {"env": ["GREETING=hello"], "cmd": ["/bin/sh"], "workingDir": "/data"},
    },
    "An image for another platform": {"containerImage": IMAGE, "containerPlatform": "linux/arm64"},
    "A container file, in base64": {"containerFile": _encoded(_FILE)},
    "Packages by name": {
        "packages": {"type": "CONDA", "entries": ["samtools=1.17"], "channels": ["conda-forge", "bioconda"]}
    },
    "Packages of an environment, in base64": {
        "packages": {"type": "CONDA", "environment": _encoded(_ENVIRONMENT)},
        "buildTemplate": "conda/micromamba:v2",
    },
    "A container file for two platforms": {
        "containerFile": _encoded(_FILE),
        "containerPlatform": "linux/amd64,linux/arm64",
    },
    "The name of a SIF file from a definition file, in base64": {
        "containerFile": _encoded(_DEFINITION),
        "format": "sif",
        "freeze": True,
        "buildRepository": REPOSITORY,
        "dryRun": True,
    },
    "Only the name of what would be built": {
        "packages": {"type": "CRAN", "entries": ["dplyr"]},
        "nameStrategy": "imageSuffix",
        "dryRun": True,
    },
}

FIRST_VERSION: Mapping[str, Mapping[str, Any]] = {
    "An image as it is": {"containerImage": IMAGE},
    "A container file, in base64": {"containerFile": _encoded(_FILE)},
}

CANCEL: Mapping[str, Mapping[str, Any]] = {"For one container request": {"requestId": REQUEST_ID}}

INSPECT: Mapping[str, Mapping[str, Any]] = {"An image": {"containerImage": IMAGE}}

CREDENTIALS: Mapping[str, Mapping[str, Any]] = {
    "A user name and a password": {"userName": USER_NAME, "password": PASSWORD, "registry": REGISTRY}
}

STORED_CREDENTIALS: Mapping[str, Mapping[str, Any]] = {
    "A robot account of a registry": {"userName": "acme+pipelines", "password": "the-token-of-the-robot"},
}

WEBHOOKS: Mapping[str, Mapping[str, Any]] = {
    "Notices of builds and scans": {"url": "https://bot.example.org/swell", "events": ["build", "scan"]},
}

KEYS: Mapping[str, Mapping[str, Any]] = {
    "A key for pulls and inspections, until a day": {
        "name": "laptop",
        "scopes": ["pull", "inspect"],
        "expires": "2126-12-31T00:00:00Z",
    },
    "A key for images of one repository": {"name": "ci", "repositories": ["quay.io/acme"]},
}

PREFERENCES: Mapping[str, Mapping[str, Any]] = {"E-mail about failures only": {"email": "ON_ERROR"}}

ACCOUNTS: Mapping[str, Mapping[str, Any]] = {
    "A user; the server chooses the password": {"name": "grace", "email": "grace@example.org", "organisation": "lab"},
    "An operator": {"name": "ops", "password": "correct horse battery", "scopes": ["administer"]},
}
ACCOUNT_CHANGES: Mapping[str, Mapping[str, Any]] = {
    "Disable an account": {"disabled": True},
    "Another password": {"password": "battery staple correct", "currentPassword": "correct horse battery"},
}

REVOCATIONS: Mapping[str, Mapping[str, Any]] = {
    "All tokens of a user": {"user": "grace"},
    "How many tokens open images of a repository": {"image": "quay.io/acme", "dryRun": True},
}

REMOVALS: Mapping[str, Mapping[str, Any]] = {
    "How much data an organisation has": {"organisation": "former.example", "dryRun": True},
    "All data of an organisation": {"organisation": "former.example"},
}

KEY_CHANGES: Mapping[str, Mapping[str, Any]] = {"Only pulls": {"scopes": ["pull"]}}
