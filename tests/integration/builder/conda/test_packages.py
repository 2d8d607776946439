"""Container files that the gateway makes build for real: packages by stand-ins for micromamba and pixi, and freeze.

The stand-ins record what they are asked to do, and make what the real tools would make of it.
"""

import asyncio
import base64
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from builder.adapters.inputs.build_secrets import AllSecrets, BuildSecrets
from builder.adapters.inputs.stored_contexts import StoredContexts
from builder.build import BuildRunner
from builder.buildah.engine import BuildahEngine
from builder.engine import Recipe, WriteLine
from gateway.submit.builds.freeze import freeze_image
from swell.api.builds import BuildStep
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.packages import CondaOpts, CranOpts, Packages, PackageType, PixiOpts
from swell.errors import NotFound
from swell.jobs.messages import BuildDone, BuildJob
from swell.oci.digest import Digest, digest_of
from swell.recipes.packages import make_recipe
from swell.registry.credentials.principal import OPERATOR, Principal
from swell.store.blobs import Blobs
from swell.store.builds.memory import MemoryBuilds
from swell.store.logs import lock_key
from swell.store.objects import MemoryObjects
from swell.store.records import Submission
from tests.integration.builder.harness import Output, Registry, gzipped_tar

HOSTILE = "$(id>/broken)`id`'\";&&\\{{x}}#"

HOSTILE_SPEC = "x[license='" + HOSTILE.replace("'", "") + "']"
"""A package whose specification has shell syntax."""

TOOL = rb"""#!/bin/sh
# What is asked for goes to the log; what the tool prints of itself, to stdout.
{ printf '%s' "${0##*/}${CONDA_OVERRIDE_CUDA:+ with cuda}"; printf ' <%s>' "$@"; echo; } >&2
case "$*" in
*" -f /tmp/conda."*)
    if grep -q needs-cuda /tmp/conda.* && [ -z "$CONDA_OVERRIDE_CUDA" ]; then echo 'nothing provides __cuda'; exit 1; fi
    if grep -q no-such-package /tmp/conda.*; then echo 'no-such-package does not exist'; exit 1; fi
    mkdir -p /opt/conda/bin && cp /tmp/conda.* /opt/conda ;;
"env export"*) printf '@EXPLICIT\nhttps://conda.example.org/samtools-1.17.conda\n' ;;
"init --import"*) mkdir -p .pixi/envs/default && cp "$3" .pixi/envs/default && echo 'version: 6' > pixi.lock ;;
shell-hook) echo 'export HOOKED=yes' ;;
esac
"""
LOCK = b"@EXPLICIT\nhttps://conda.example.org/samtools-1.17.conda\n"
TOOLS = """\
FROM {base}
COPY tool /bin/micromamba
COPY passwd group /etc/
RUN chmod 755 /bin/micromamba && for name in pixi Rscript apt-get; do ln -s micromamba /bin/$name; done \\
 && chmod 1777 /tmp && mkdir -p /usr/bin /opt/conda && chown 1000 /opt/conda && ln -s /bin/sh /bin/bash
ENV MAMBA_USER=mambauser MAMBA_ROOT_PREFIX=/opt/conda
USER mambauser
WORKDIR /tmp
"""


class MemoryLog:
    """The log and the lock files of the builds."""

    def __init__(self) -> None:
        self.output = Output()
        self.attached: dict[str, bytes] = {}

    @asynccontextmanager
    async def open(self, build_id: str, attempt: int, secrets: Iterable[bytes] = ()) -> AsyncIterator["MemoryLog"]:
        yield self

    async def write_line(self, line: bytes) -> None:
        await self.output(line)

    async def write_step(self, step: BuildStep) -> None:
        """Discard the step."""

    def masked(self, text: str) -> str:
        return text

    def attach(self, key: str, content: bytes) -> None:
        self.attached[key] = content


class Wanted:
    async def wait_until_cancelled(self, build_id: str) -> None:
        await asyncio.Event().wait()


class LastEvent:
    async def publish(self, event: BuildDone) -> None:
        self.event = event


@pytest.fixture(scope="session")
async def tools(registry: Registry, engine: BuildahEngine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image with the stand-ins, whose user is not root."""
    files = {"tool": TOOL, "passwd": b"root:x:0:0::/:/bin/sh\nmambauser:x:1000:1000::/:/bin/sh\n"}
    files["group"] = b"root:x:0:\nmambauser:x:1000:\n"
    context = gzipped_tar(tmp_path_factory.mktemp("tools") / "context.tar.gz", files)
    target = f"{registry.address}/tools:1"
    body = TOOLS.format(base=base)
    made = Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-tools_1",
        target_image=target,
        containerfile=body,
        context=context,
    )
    await engine.build(made, Output())
    return target


class FreeLeases:
    """This builder is alone."""

    @asynccontextmanager
    async def hold(self, build_id: str) -> AsyncIterator[None]:
        yield


class NothingPushed:
    """The first attempt does not check whether an earlier one has pushed."""

    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        return None


class NoAssembly:
    """Nothing here is built for several platforms."""

    async def make(self, wanted: Submission, build_log: object) -> Digest:
        raise NotImplementedError


class NothingUnpushed:
    """No build has made an image that could not be pushed."""

    async def push(self, recipe: Recipe, write_line: WriteLine) -> Digest | None:
        return None


async def nothing_stored(name: str) -> bytes:
    """No user has stored a secret."""
    raise NotFound(name)


class Harness:
    """A builder with a real engine and registry; its other collaborators are in memory."""

    def __init__(self, engine: BuildahEngine, registry: Registry, folder: Path) -> None:
        self.log = MemoryLog()
        self.blobs = Blobs(MemoryObjects())
        self.registry = registry
        self._events = LastEvent()
        contexts = StoredContexts(self.blobs, folder)
        self._building = BuildRunner(
            engine,
            MemoryBuilds(),
            FreeLeases(),
            self.log,
            contexts,
            AllSecrets(BuildSecrets(()), nothing_stored),
            NothingPushed(),
            self._events,
            NoAssembly(),
            Wanted(),
            NothingUnpushed(),
        )

    async def layer(self, name: str) -> ContainerLayer:
        """A layer, kept in the store, with a file that has its own name in it."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
        digest = digest_of(content.getvalue())
        await self.blobs.put(digest, content.getvalue())
        return ContainerLayer(location="", gzip_digest=digest)

    async def build(self, containerfile: str, environment: str | None = None, layers: tuple[Digest, ...] = ()) -> bool:
        job = BuildJob(
            id="bd-made_1",
            target_image=f"{self.registry.address}/made:1",
            containerfile=containerfile,
            platform="linux/amd64",
            environment=environment,
            layers=layers,
            principal=OPERATOR,
            push_principal=OPERATOR,
        )
        await self._building.build(job, 1)
        return self._events.event.succeeded

    @property
    def lines(self) -> list[str]:
        """The command lines of the stand-ins."""
        tools = ("micromamba", "pixi", "Rscript", "apt-get")
        return [line for line in self.log.output.text.splitlines() if line.startswith(tools)]

    def config(self) -> dict[str, Any]:
        """The run-time part of the image's config."""
        manifest = json.loads(self.registry.fetch("made/manifests/1")[0])
        config = json.loads(self.registry.fetch(f"made/blobs/{manifest['config']['digest']}")[0])
        return dict(config["config"])

    def read(self, name: str) -> bytes:
        """A file of the image's last layer."""
        found = self.registry.last_layer("made", "1").extractfile(name)
        assert found is not None
        return found.read()


@pytest.fixture
def harness(engine: BuildahEngine, registry: Registry, tmp_path: Path) -> Harness:
    return Harness(engine, registry, tmp_path)


def conda(tools: str, base: str, *entries: str, **wanted: Any) -> Packages:
    """Packages for images that this machine has."""
    base_packages = f"procps-ng {HOSTILE_SPEC}"
    return Packages(
        type=PackageType.CONDA,
        entries=entries,
        conda_opts=CondaOpts(mamba_image=tools, base_image=base, base_packages=base_packages),
        pixi_opts=PixiOpts(pixi_image=tools, base_image=base, base_packages=base_packages),
        **wanted,
    )


async def test_micromamba_v2_installs_the_environment_and_copies_it(harness: Harness, tools: str, base: str) -> None:
    """What clients ask for is in the prefix of the image; hostile names are words that the tool is given."""
    made = make_recipe(conda(tools, base, "samtools=1.17", HOSTILE_SPEC, channels=("bioconda",)), None, False)

    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    assert harness.lines == [
        "micromamba <install> <-y> <-n> <base> <conda-forge::which>",
        "micromamba <install> <-y> <-n> <base> <-f> </tmp/conda.yml>",
        f"micromamba <install> <-y> <-n> <base> <procps-ng> <{HOSTILE_SPEC}>",
        "micromamba <clean> <-a> <-y>",
        "micromamba <env> <export> <--name> <base> <--explicit>",
    ]
    assert harness.read("opt/conda/conda.yml").decode() == made.environment
    assert "PATH=/opt/conda/bin:" in "\n".join(harness.config()["Env"])
    assert harness.log.attached[lock_key("bd-made_1")] == LOCK
    assert LOCK.splitlines()[1] not in harness.log.output


async def test_what_needs_a_graphics_card_is_installed_as_if_there_were_one(
    harness: Harness, tools: str, base: str
) -> None:
    """No builder has one, and the image will run where there is."""
    made = make_recipe(conda(tools, base, "needs-cuda"), None, False)
    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    assert "micromamba with cuda <install> <-y> <-n> <base> <-f> </tmp/conda.yml>" in harness.lines


@pytest.mark.parametrize("template", ["conda/micromamba:v1", "conda/micromamba:v2"])
async def test_what_cannot_be_installed_fails_the_build(harness: Harness, tools: str, base: str, template: str) -> None:
    """And the log has what the tool said."""
    made = make_recipe(conda(tools, base, "no-such-package"), template, False)
    assert not await harness.build(made.containerfile, made.environment)
    assert b"no-such-package does not exist" in harness.log.output
    assert lock_key("bd-made_1") not in harness.log.attached
    assert len([line for line in harness.lines if "<-f>" in line]) == 1


async def test_micromamba_v1_stays_in_its_image(harness: Harness, tools: str, base: str) -> None:
    """An explicit list comes under a name by which micromamba knows it, and belongs to micromamba's user."""
    explicit = base64.b64encode(b"@EXPLICIT\nhttps://conda.example.org/a-1.conda\n").decode()
    made = make_recipe(conda(tools, base, environment=explicit), "conda/micromamba:v1", False)
    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    assert harness.lines[0] == "micromamba <install> <-y> <-n> <base> <-f> </tmp/conda.txt>"
    assert harness.read("opt/conda/conda.txt").startswith(b"@EXPLICIT")
    assert (harness.config()["User"], harness.log.attached[lock_key("bd-made_1")]) == ("root", LOCK)


@pytest.mark.parametrize("template", ["conda/micromamba:v1", "conda/micromamba:v2"])
async def test_a_lock_file_by_address_needs_no_context(harness: Harness, tools: str, base: str, template: str) -> None:
    """URLs and channels are arguments, even with shell syntax in them."""
    url = f"https://locks.example.org/{HOSTILE}"
    made = make_recipe(conda(tools, base, url, channels=(HOSTILE,)), template, False)
    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    assert f"micromamba <install> <-y> <-n> <base> <-c> <{HOSTILE}> <-f> <{url}>" in harness.lines


async def test_pixi_activates_its_environment_at_the_start(harness: Harness, tools: str, base: str) -> None:
    """The hook runs the command of the container."""
    made = make_recipe(conda(tools, base, "samtools"), "conda/pixi:v1", False)
    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    assert harness.lines[2] == f"pixi <add> <procps-ng> <{HOSTILE_SPEC}>"
    assert harness.read("shell-hook.sh") == b'export HOOKED=yes\nexec "$@"\n'
    assert harness.config()["Entrypoint"] == ["/bin/bash", "/shell-hook.sh"]
    assert any(entry.startswith("PATH=/opt/wave/.pixi/envs/default/bin:") for entry in harness.config()["Env"])
    assert harness.log.attached[lock_key("bd-made_1")] == b"version: 6\n", harness.log.output.text


async def test_r_packages_are_arguments_of_r(harness: Harness, tools: str) -> None:
    """Each process gets the repositories; R itself is a stand-in here."""
    opts = CranOpts(r_image=tools, base_packages=f"littler {HOSTILE}")
    entries = ("dplyr", "ggplot2=3.4.1", "bioc::DESeq2")
    made = make_recipe(Packages(type=PackageType.CRAN, entries=entries, cran_opts=opts), None, False)
    assert await harness.build(made.containerfile), harness.log.output.text
    assert harness.lines[:2] == ["apt-get <update>", f"apt-get <install> <-y> <littler> <{HOSTILE}>"]
    assert [line.rpartition(" ")[2] for line in harness.lines[2:]] == ["<ggplot2=3.4.1>", "<dplyr>", "<DESeq2>"]


@pytest.mark.parametrize(
    "template", ["conda/micromamba:v1", "conda/micromamba:v2", "conda/pixi:v1", "cran/installr:v1"]
)
async def test_commands_end_the_container_file(harness: Harness, tools: str, template: str) -> None:
    """Lines of the client's own, in the stage that becomes the image, as root and with what was installed."""
    commands = ("RUN echo $(id -u) > /commanded", 'LABEL commanded="yes"')
    packages = Packages(
        type=PackageType.CRAN if template.startswith("cran") else PackageType.CONDA,
        entries=("dplyr",),
        conda_opts=CondaOpts(mamba_image=tools, base_image=tools, commands=commands),
        pixi_opts=PixiOpts(pixi_image=tools, base_image=tools, commands=commands),
        cran_opts=CranOpts(r_image=tools, commands=commands),
    )
    made = make_recipe(packages, template, False)

    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    assert harness.read("commanded") == b"0\n"
    assert harness.config()["Labels"]["commanded"] == "yes"


async def test_an_environment_file_is_installed_with_more_channels(harness: Harness, tools: str, base: str) -> None:
    """Its own channels come first, and pip's packages stay where they are."""
    text = b"channels: [bioconda]\ndependencies: [samtools, pip, {pip: [pandas]}]\n"
    wanted = conda(tools, base, environment=base64.b64encode(text).decode(), channels=("conda-forge",))
    made = make_recipe(wanted, None, False)
    assert await harness.build(made.containerfile, made.environment), harness.log.output.text
    installed = harness.read("opt/conda/conda.yml").decode()
    assert installed.splitlines()[:3] == ["channels:", "- bioconda", "- conda-forge"]
    assert "- pip:\n  - pandas" in installed


async def test_a_frozen_image_has_the_values_to_the_letter(harness: Harness, base: str) -> None:
    """The same image runs the same, whether its config was added at the pull or built in."""
    values = [HOSTILE, "", " two  words ", "a=b", "${PATH:-x}", "\\$PATH", "trailing\\", "'q' \"q\"", "#é\t|"]
    config = ContainerConfig(
        entrypoint=("/bin/sh", "-c", HOSTILE),
        cmd=("$HOME", "a\nb", ""),
        env=tuple(f"V{number}={value}" for number, value in enumerate(values)),
        working_dir="/a $b/\"c\" 'd' \\e",
        layers=(await harness.layer("hello"),),
    )
    layers = tuple(Digest(layer.gzip_digest or "") for layer in config.layers or ())
    made = freeze_image(base, config, ("/entry", "$run"), False)

    assert await harness.build(made, layers=layers), harness.log.output.text
    found = harness.config()
    assert found["Env"][-len(values) :] == list(config.env or ())
    assert "WAVE_ENTRY_CHAIN=/entry $run" in found["Env"]
    assert found["WorkingDir"] == config.working_dir
    assert (found["Entrypoint"], found["Cmd"]) == (list(config.entrypoint or ()), list(config.cmd or ()))
    assert harness.read("hello") == b"hello"
