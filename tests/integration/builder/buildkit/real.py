"""Container files in the manner of public ones: their structure, on a base image that is at hand.

`MODELS` names the public file of each. The files are in `dockerfiles/`, where `{base}` is an image of busybox, and
`{tools}` makes package managers and compilers that write down their arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.builder.buildkit.features import Feature

_FOLDER = Path(__file__).with_name("dockerfiles")
_PROGRAMS = (
    "R apk apt apt-get apt-mark bundle cargo conda git go gpg gradle make mamba micromamba mvn npm pip pnpm uv yarn"
)
_TOOLS = (
    "RUN mkdir -p /usr/local/bin /var/lib/apt/lists /var/log /root/.cache && for tool in " + _PROGRAMS + "; do "
    "printf '#!/bin/sh\\necho \"$0 $*\" >> /var/log/tools\\n' > /bin/$tool; chmod 755 /bin/$tool; done"
)
_PYTHON = {"requirements.txt": b"flask==3.0\n", "app/main.py": b"print(1)\n", "app/util.py": b"", "README.md": b"#\n"}
_NODE = {"package.json": b"{}", "package-lock.json": b"{}", "src/index.js": b"1", "public/index.html": b"<p>"}
_GO = {"go.mod": b"module x\n", "go.sum": b"", "cmd/x/main.go": b"package main\n", "internal/a.go": b"package a\n"}
_RUST = {"Cargo.toml": b"[package]\n", "Cargo.lock": b"", "src/main.rs": b"fn main(){}\n"}
_JAVA = {"pom.xml": b"<project/>", "src/main/java/A.java": b"class A{}"}
_RUBY = {
    "Gemfile": b"gem 'rails'\n",
    "Gemfile.lock": b"",
    "bin/rails": b"#!/bin/sh\r\n",
    "bin/docker-entrypoint": b"#\n",
}
_ROCKER = {
    "scripts/install_R_source.sh": b"mkdir -p $R_HOME/etc /usr/local/bin; apt-get install gfortran\n",
    "scripts/setup_R.sh": b'echo "options(repos = c(CRAN = \\"$CRAN\\"))" > $R_HOME/etc/Rprofile.site\n',
    "scripts/install_python.sh": b"#!/bin/sh\nset -e\npip install a\n",
}
_JUPYTER = dict.fromkeys(
    ("start-notebook.py", "start-singleuser.py", "jupyter_server_config.py", "docker_healthcheck.py"),
    b"#!/usr/bin/env python\n",
)
_MICROMAMBA = {
    "_dockerfile_shell.sh": b'#!/bin/sh\n[ "$MAMBA_DOCKERFILE_ACTIVATE" = 1 ] && export ACTIVATED=1\nexec sh -c "$@"\n',
    "env.yaml": b"dependencies: [python]\n",
}
_UV = {
    ".dockerignore": b"*.pyc\n.venv\n",
    "uv.lock": b"",
    "pyproject.toml": b"[project]\n",
    "src/main.py": b"print(1)\n",
    "ignored.pyc": b"",
}
_PROMETHEUS = {
    ".build/linux-amd64/prometheus": b"#!/bin/sh\n",
    ".build/linux-amd64/promtool": b"#!/bin/sh\n",
    "documentation/examples/prometheus.yml": b"global:\n",
    "console_libraries/menu.lib": b"",
    "consoles/index.html.example": b"",
}
_POSTGRES = {"docker-entrypoint.sh": b"#!/bin/sh\n", "docker-ensure-initdb.sh": b"#!/bin/sh\n"}


@dataclass(frozen=True)
class Model:
    """A file of `dockerfiles/`, and the public container file whose structure it has: repository and path."""

    name: str
    public: str
    context: Mapping[str, bytes] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature(self) -> Feature:
        body = (_FOLDER / f"{self.name}.Dockerfile").read_text().replace("{tools}", _TOOLS)
        return Feature(self.name, body, self.context, options=self.options)


MODELS = (
    # services
    Model("python-service", "docker/awesome-compose flask/app/Dockerfile", _PYTHON),
    Model("uv-in-two-stages", "astral-sh/uv-docker-example multistage.Dockerfile", _UV),
    Model("node-in-three-stages", "the example for Node.js of docs.docker.com", _NODE),
    Model("next-js", "vercel/next.js examples/with-docker/Dockerfile", _NODE),
    Model("compose-nginx-with-a-template", "docker/awesome-compose react-nginx/Dockerfile", _NODE),
    Model(
        "development-and-production",
        "docker/awesome-compose react-express-mongodb/frontend/Dockerfile",
        _NODE,
        {"target": "production"},
    ),
    Model("rails", "rails/rails railties/lib/rails/generators/rails/app/templates/Dockerfile.tt", _RUBY),
    Model("airflow-scripts", "apache/airflow Dockerfile"),
    # compiled programs
    Model("go-static-on-scratch", "the example for Go of docs.docker.com", _GO),
    Model("buildx-releases", "docker/buildx Dockerfile", _GO),
    Model("rust-with-a-planner", "LukeMathWalker/cargo-chef README.md", _RUST),
    Model("java-with-layers", "spring-guides/gs-spring-boot-docker complete/Dockerfile", _JAVA),
    Model("prometheus", "prometheus/prometheus Dockerfile", _PROMETHEUS),
    # official images
    Model("postgres", "docker-library/postgres 14/bookworm/Dockerfile", _POSTGRES),
    Model("cpython-slim", "docker-library/python 3.12/slim-bookworm/Dockerfile"),
    Model("an-archive-and-its-checksum", "docker-library images with ONBUILD", {"t.tar.gz": b"@archive"}),
    Model("apt-with-caches", "moby/buildkit frontend/dockerfile/docs/reference.md"),
    Model(
        "choice-of-a-stage-by-an-argument",
        "the chapter on build variables of docs.docker.com",
        options={"build_args": {"VARIANT": "debian"}},
    ),
    # science
    Model(
        "jupyter-a-user-and-fixed-permissions",
        "jupyter/docker-stacks images/docker-stacks-foundation/Dockerfile",
        _PYTHON,
    ),
    Model("jupyter-base-notebook", "jupyter/docker-stacks images/base-notebook/Dockerfile", _JUPYTER),
    Model("rocker-scripts-and-a-here-document", "rocker-org/rocker-versioned2 dockerfiles/Dockerfile_binder_4.1.0"),
    Model("rocker-r-ver", "rocker-org/rocker-versioned2 dockerfiles/Dockerfile_geospatial_4.1.1", _ROCKER),
    Model("nf-core-conda-by-file", "nf-core/tools nf_core/pipeline-template/Dockerfile", _PYTHON),
    Model(
        "nf-core-cellranger",
        "nf-core/modules modules/nf-core/cellranger/Dockerfile",
        {"cellranger-7.2.0.tar.gz": b"@archive"},
    ),
    Model("biocontainers-samtools", "BioContainers/containers samtools/1.20/Dockerfile"),
    Model("staphb-samtools", "StaPH-B/docker-builds samtools/1.20/Dockerfile"),
    Model("micromamba-run-activate", "mamba-org/micromamba-docker examples/run_activate/Dockerfile", _MICROMAMBA),
    Model("gatk", "broadinstitute/gatk Dockerfile", _JAVA),
    Model("pytorch", "pytorch/pytorch Dockerfile", _PYTHON),
)

REAL = tuple(model.feature for model in MODELS)
