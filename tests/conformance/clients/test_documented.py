"""docs/clients.md: the examples, sent as the clients send them. The clients themselves are not available here."""

import base64
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.clients.nf_wave import NfWave
from tests.conformance.clients.wave_cli import WaveCli
from tests.e2e.client import Swell
from tests.e2e.examples import ROOT
from tests.e2e.upstreams import Upstreams

PAGE = (ROOT / "docs/clients.md").read_text()
FILE = "FROM {image}\nRUN true\n"
SETTINGS = {
    "wave.enabled": "true",
    "wave.endpoint": "'http://localhost:9090'",
    "wave.strategy": "['conda', 'container']",
    "docker.enabled": "true",
}
MEMBERS = {
    "wave.build.template": "buildTemplate",
    "wave.freeze": "freeze",
    "wave.build.repository": "buildRepository",
    "tower.accessToken": "towerAccessToken",
}
"""The member of a request that each setting of nf-wave becomes, as in its recorded requests (`nfwave full-config`)."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def settings_of(text: str) -> dict[str, str]:
    """The settings in *text*, a block of Nextflow's configuration, with their scopes."""
    found, scope = {}, ""
    for line in map(str.strip, text.splitlines()):
        if line.endswith("{"):
            scope = f"{line[:-1].strip()}."
        elif line == "}":
            scope = ""
        elif line:
            name, _, value = line.partition(" = ")
            found[scope + name] = value
    return found


def command_lines() -> list[str]:
    return [line for block in blocks("console") for line in block.splitlines()]


def body_of(line: str, upstreams: Upstreams) -> Mapping[str, Any]:
    """The body that the `wave` command *line* sends, as in the recorded requests."""
    program, *words = shlex.split(line)
    assert program == "wave"
    body: dict[str, Any] = {"dryRun": False, "freeze": False, "mirror": False}
    packages: dict[str, Any] = {"type": "CONDA", "channels": ["conda-forge", "bioconda"], "entries": []}
    while words:
        match words.pop(0):
            case "-i":
                body["containerImage"] = words.pop(0).replace("localhost:9500/library/busybox", upstreams.image())
            case "-f":
                assert words.pop(0) == "Dockerfile"
                body["containerFile"] = base64.b64encode(FILE.format(image=upstreams.image()).encode()).decode()
            case "--config-env":
                body["containerConfig"] = {"env": [words.pop(0)], "layers": []}
            case "--conda-package":
                packages["entries"].append(words.pop(0))
                body["packages"] = packages
            case "--build-template":
                body["buildTemplate"] = words.pop(0)
            case "--platform":
                body["containerPlatform"] = words.pop(0)
            case "--build-repo":
                body["buildRepository"] = words.pop(0)
            case "--tower-token":
                body["towerAccessToken"] = words.pop(0)
            case "--dry-run" | "--freeze" as flag:
                body[{"--dry-run": "dryRun", "--freeze": "freeze"}[flag]] = True
            case "--await":
                pass
            case other:
                pytest.fail(f"the test does not know {other}")
    return body


@pytest.mark.parametrize("line", command_lines())
async def test_each_wave_command_is_answered(cli: WaveCli, upstreams: Upstreams, line: str) -> None:
    """Conda's channels are not reachable here: packages are only named, in a dry run, and a warning says so."""
    body = dict(body_of(line, upstreams))
    if "packages" in body:
        body["dryRun"] = True
    if "towerAccessToken" in body:  # `KEY` stands for a key of the reader's
        assert (await cli.run(body)).code == 1
        return
    ran = await cli.run(body)
    assert ran.code == 0, ran.stderr
    assert ran.stdout


async def test_the_nextflow_settings_become_requests_that_are_answered(
    nf_wave: NfWave, swell: Swell, upstreams: Upstreams
) -> None:
    """A task with a container, and one with packages; the optional settings become the members of a request."""
    (text,) = blocks("groovy")
    assert settings_of(text) == SETTINGS
    optional = dict(re.findall(r"`((?:wave|tower)\.[\w.]+) = ([^`]+)`", PAGE))
    assert set(optional) == set(MEMBERS)
    container = await nf_wave.submit({"containerImage": upstreams.image()})
    assert container.image.startswith(swell.url.removeprefix("http://"))
    packages = {"type": "CONDA", "entries": ["bioconda::samtools=1.17"], "channels": ["conda-forge", "bioconda"]}
    template = optional["wave.build.template"].strip("'")
    status, answer = await swell.post(packages=packages, buildTemplate=template, dryRun=True)
    assert status == 200 and "samtools-1.17--" in answer["targetImage"], answer


def test_the_page_says_what_was_not_tried() -> None:
    """A reader must not believe that the clients themselves ran."""
    assert "Neither Nextflow nor the `wave` command line is available" in Path(ROOT / "docs/clients.md").read_text()
