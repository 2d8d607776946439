"""`swell name` computes what the server answers to a dry run."""

import json
from pathlib import Path

import pytest

from swell_embedded.stack import Stack
from tests.e2e.command_line.test_cli_doctor import swell_of

CASES = {
    "a context": ("CONTEXT",),
    "options": (
        "CONTEXT",
        "--build-arg",
        "A=1",
        "--label",
        "b=c",
        "--compression",
        "zstd",
        "--platform",
        "linux/arm64",
    ),
    "a file": ("-f", "CONTEXT/Dockerfile", "--target", "one"),
    "Conda": ("-p", "samtools=1.17", "-p", "pip:numpy", "-c", "bioconda"),
    "pixi": ("-p", "bwa", "--template", "conda/pixi:v1", "--name-strategy", "imageSuffix"),
    "other images": ("-p", "bwa", "--base-image", "debian:13", "--base-packages", ""),
    "R": ("--cran", "dplyr", "--name-strategy", "none"),
    "an environment": ("-e", "CONTEXT/conda.yml", "--platform", "linux/arm64,linux/amd64"),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_name_is_the_servers(stack: Stack, tmp_path: Path, case: str) -> None:
    """A pipeline compares it with what its registry has, without asking the server."""
    (tmp_path / "Dockerfile").write_text("FROM scratch AS one\nCOPY conda.yml /\n")
    (tmp_path / "conda.yml").write_text("name: tools\nchannels: [bioconda]\ndependencies: [samtools=1.17]\n")
    words = [word.replace("CONTEXT", str(tmp_path)) for word in CASES[case]]

    _, shown, problem = await swell_of(stack.url, tmp_path / "home", "build", *words, "--dry-run", "-o", "json")
    there = json.loads(shown)["containerImage"] if shown else problem
    repository = stack.env["SWELL_BUILD_REPOSITORY"]
    code, here, err = await swell_of(
        "http://localhost:1", tmp_path / "home", "name", "--repository", repository, *words
    )

    assert code == 0, err
    assert here == f"{there}\n"
