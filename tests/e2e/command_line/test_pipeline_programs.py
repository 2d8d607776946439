"""Snakemake and a notebook kernel run the examples of docs/pipelines.md; Apptainer has a stand-in, see `programs/`."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import PLAIN, Swell
from tests.e2e.command_line.test_pipelines_page import blocks
from tests.e2e.engines import run, succeed
from tests.e2e.examples import ROOT
from tests.e2e.upstreams import Upstreams

PROGRAMS = Path(__file__).parent / "programs"
IN_A_KERNEL = """
import sys
import nbformat
from nbclient import NotebookClient

cells = [nbformat.v4.new_code_cell(source) for source in open(sys.argv[1]).read().split("\\n\\n")]
notebook = NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120, kernel_name="python3").execute()
for cell in notebook.cells:
    for output in cell.outputs:
        print(output.get("text", "") or output["data"]["text/plain"])
"""
pytestmark = [pytest.mark.full, pytest.mark.timeout(600)]  # about eighty packages are downloaded


@pytest.fixture(scope="module")
async def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment that has Snakemake, a kernel, and the client from its wheel."""
    home = tmp_path_factory.mktemp("programs")
    wheel = ("-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(home / "dist"))
    await succeed(sys.executable, *wheel, *(str(ROOT / "libs" / name) for name in ("swell", "client")))
    await succeed(sys.executable, "-m", "venv", str(home / "venv"))
    pip = (str(home / "venv/bin/pip"), "install", "-q", "--disable-pip-version-check")
    await succeed(*pip, "--require-hashes", "-r", str(PROGRAMS / "requirements.txt"))
    await succeed(*pip, "--find-links", str(home / "dist"), "swell-client")
    return home / "venv/bin"


@pytest.fixture
def store() -> Iterator[str]:
    """A short path for podman, whose sockets are below it."""
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as folder:
        yield folder


@pytest.fixture
def environment(programs: Path, swell: Swell, tmp_path: Path, store: str) -> dict[str, str]:
    return dict(os.environ) | {
        "PATH": f"{programs}:{PROGRAMS}:{os.environ['PATH']}",
        "PODMAN_STORE": store,
        "SWELL_URL": swell.url,
        "SWELL_TOKEN": PLAIN,
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


async def test_snakemake_runs_a_rule_in_an_image_of_the_example(
    environment: dict[str, str], upstreams: Upstreams, tmp_path: Path
) -> None:
    """The channel here has no samtools: a Dockerfile with small scripts takes its place."""
    (tmp_path / "Dockerfile").write_text(
        f"""FROM {upstreams.image()}
RUN printf '#!/bin/sh\\nexec sh "$@"' > /bin/bash && chmod +x /bin/bash
RUN printf '#!/bin/sh\\nexec "$@"' > /bin/samtools && chmod +x /bin/samtools
"""
    )
    text = blocks("python")[0].replace('packages=["bioconda::samtools=1.17"]', 'open("Dockerfile").read()')
    (tmp_path / "Snakefile").write_text(text)
    (tmp_path / "a.bam").write_text("2\n1\n")

    command = ("snakemake", "--cores=1", "--software-deployment-method=apptainer", "a.sorted.bam")
    ran = await run("sh", "-c", f'cd "{tmp_path}" && exec {" ".join(command)}', environment=environment)

    assert ran.status == 0, ran.output
    assert (tmp_path / "a.sorted.bam").read_text() == "1\n2\n"
    assert re.search(r"Pulling singularity image docker://\S+/wt/", ran.output), ran.output
    assert "samtools sort" in text


async def test_the_cells_of_the_example_run_in_a_kernel(
    environment: dict[str, str], programs: Path, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A kernel has a running event loop; the log is printed below the cell."""
    cells = blocks("python")[1].replace("localhost:9500/library/busybox", upstreams.image())
    (tmp_path / "cells.py").write_text(cells.replace("container = ", "\ncontainer = "))

    ran = await run(str(programs / "python"), "-c", IN_A_KERNEL, str(tmp_path / "cells.py"), environment=environment)

    assert ran.status == 0, ran.output
    assert "from a notebook" in ran.output
    assert "succeeded=True" in ran.output
