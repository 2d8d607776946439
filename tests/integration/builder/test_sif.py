"""SIF files of what was built: read by the tools of their makers, and run from inside.

Apptainer itself cannot be had here: `siftool` is its library's own tool, `unsquashfs` reads the file system, and the
scripts are run as Apptainer runs them, in a chroot.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from builder.adapters.registry import registry_push
from builder.buildah.engine import BuildahEngine
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.sif.push import Sifs
from swell.jobs.messages import Definition
from swell.net.outbound import Policy, open_session
from swell.oci.digest import digest_of
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from swell_sandbox import Sandbox
from swell_sandbox.process import Tail
from tests.integration.builder.harness import OpenEngine, Output, Registry
from tests.unit.builder.sif.layouts import layout_of, member, tar

SIFTOOL = "github.com/apptainer/sif/v2/cmd/siftool@v2.25.0"
RUN = Definition(
    text="Bootstrap: docker\nFrom: base\n",
    environment='export GREETING="good  morning"\n',
    runscript='echo "$GREETING, $1"; cat /made\n',
    labels={"Author": 'another "user"'},
)


@pytest.fixture(scope="session")
async def sif_engine(
    open_engine: OpenEngine, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildahEngine]:
    keyring = parse_auth_file(registry.auth_file.read_bytes())
    async with open_session(Policy(frozenset({registry.address}))) as session:
        push = registry_push(RegistryClient(session, keyring, actions="pull,push").acting_for(OPERATOR))
        sifs = Sifs(push, limit=64 << 20, memory=2 << 30)
        async with open_engine(tmp_path_factory.mktemp("sif-workspace"), sifs=sifs) as engine:
            yield engine


@pytest.fixture(scope="session")
def siftool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tool of Apptainer's SIF library: this machine's, else made from its source."""
    if found := shutil.which("siftool"):
        return found
    if not (go := shutil.which("go")):
        pytest.skip("no siftool, and no Go to make it with")
    folder = tmp_path_factory.mktemp("siftool")
    environment = os.environ | {"GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
    made = subprocess.run(
        [go, "install", SIFTOOL], env=environment, check=False, capture_output=True, text=True, timeout=110
    )
    if made.returncode:
        pytest.skip(f"siftool cannot be made here: {made.stderr[-300:]}")
    return str(folder / "siftool")


def recipe(base: str, body: str, definition: Definition = RUN, made: str = "sif:1") -> Recipe:
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-5_1",
        target_image=f"oras://{base.replace('base:1', made)}",
        containerfile=f"FROM {base}\n{body}",
        sif=definition,
    )


async def built(engine: BuildahEngine, wanted: Recipe, registry: Registry, folder: Path) -> Path:
    """The SIF file of *wanted*, as it is pulled."""
    output = Output()
    digest = await engine.build(wanted, output)
    repository, _, tag = wanted.target_image.removeprefix(f"oras://{registry.address}/").partition(":")
    content, content_digest = registry.fetch(f"{repository}/manifests/{tag}")
    assert content_digest == digest == digest_of(content)
    (layer,) = json.loads(content)["layers"]
    sif, _ = registry.fetch(f"{repository}/blobs/{layer['digest']}")
    assert (len(sif), digest_of(sif)) == (layer["size"], layer["digest"])
    path = folder / "image.sif"
    path.write_bytes(sif)
    return path


def unpacked(sif: Path) -> Path:
    """The files in the partition of *sif*."""
    (offset,) = [at for at in range(4096, sif.stat().st_size, 4096) if sif.read_bytes()[at : at + 4] == b"hsqs"][:1]
    folder = sif.parent / "unpacked"
    command = ["unsquashfs", "-no-progress", "-o", str(offset), "-d", str(folder), str(sif)]
    subprocess.run(command, check=True, capture_output=True, timeout=110)
    return folder


def in_chroot(root: Path, *command: str, **environment: str) -> str:
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    ran = subprocess.run(
        [str(chroot), root, *command], check=False, capture_output=True, text=True, env=environment, timeout=110
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


async def test_what_was_built_runs_from_inside_the_file(
    sif_engine: BuildahEngine, base: str, registry: Registry, tmp_path: Path
) -> None:
    """The scripts of the definition, the image's own variables, and the files of its layers."""
    body = "ENV PATH=/bin FROM_IMAGE=\"it's $HOME\"\nRUN echo 'made by a step' > /made && rm /bin/vi\n"
    root = unpacked(await built(sif_engine, recipe(base, body), registry, tmp_path))

    said = in_chroot(root, "/.singularity.d/actions/run", "you")
    environment = in_chroot(root, "/.singularity.d/actions/exec", "/bin/env", FROM_IMAGE="", PATH="/nowhere")

    assert said == "good  morning, you\nmade by a step\n"
    assert {"FROM_IMAGE=it's ", "GREETING=good  morning", "PATH=/bin"} <= set(environment.splitlines())
    assert not (root / "bin/vi").is_symlink()
    assert (root / "singularity").readlink() == Path(".singularity.d/runscript")
    assert json.loads((root / ".singularity.d/labels.json").read_text())["Author"] == 'another "user"'
    assert (root / ".singularity.d/Singularity").read_text() == RUN.text


async def test_siftool_reads_it(
    sif_engine: BuildahEngine, base: str, registry: Registry, tmp_path: Path, siftool: str
) -> None:
    """The tool of those who made the format agrees with every field of the header and the table."""
    sif = await built(sif_engine, recipe(base, "ENV A=1\n"), registry, tmp_path)

    def output_of(*command: str) -> str:
        return subprocess.run([siftool, *command, sif], check=True, capture_output=True, timeout=110).stdout.decode()

    assert re.search(r"Primary Architecture: amd64\n", output_of("header"))
    assert "run-singularity" in output_of("header")
    assert [line.split("|")[-1].strip() for line in output_of("list").splitlines()[3:6]] == [
        "Def.FILE",
        "JSON.Generic",
        "FS (Squashfs/*System/amd64)",
    ]
    assert re.search(r"Partition Type: +\*System\n", output_of("info", "3"))
    assert output_of("dump", "1") == RUN.text
    assert json.loads(output_of("dump", "2"))["architecture"] == "amd64"


async def test_the_image_decides_when_the_definition_does_not(
    sif_engine: BuildahEngine, base: str, registry: Registry, tmp_path: Path
) -> None:
    """Entrypoint and command as in the OCI: arguments replace the command; no word is read by a shell again."""
    body = 'ENTRYPOINT ["/bin/echo", "it\'s", "$HOME"]\nCMD ["a  b", "`id`"]\n'
    root = unpacked(await built(sif_engine, recipe(base, body, Definition(text="FROM")), registry, tmp_path))

    assert in_chroot(root, "/.singularity.d/runscript", PATH="/bin") == "it's $HOME a  b `id`\n"
    assert in_chroot(root, "/.singularity.d/runscript", "c  $d", PATH="/bin") == "it's $HOME c  $d\n"


async def test_the_same_image_makes_the_same_file(
    sif_engine: BuildahEngine, base: str, registry: Registry, tmp_path: Path
) -> None:
    """No clock and no chance, so that who has the file need not fetch it again."""
    first = await sif_engine.build(recipe(base, "", made="same:1"), Output())
    await asyncio.sleep(1.1)  # the clock shows another second: what it is asked for must not be in the file
    again = await sif_engine.build(recipe(base, "", made="same:2"), Output())

    assert first == again


async def test_an_image_that_is_too_large_is_no_fault_of_ours(sif_engine: BuildahEngine, base: str) -> None:
    """The error names the limit; a file of zeros is as large as it says."""
    wanted = recipe(base, "RUN dd if=/dev/zero of=/zeros bs=1M count=70 2>/dev/null\n")

    with pytest.raises(BuildFailure, match="more than 67108864 bytes") as failure:
        await sif_engine.build(wanted, Output())

    assert failure.value.reason is Reason.RECIPE


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that takes a million bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_full_disk_is_named(full_disk: Path, tmp_path: Path) -> None:
    """Only the operator can correct it."""
    sandbox, output = Sandbox(directory=full_disk, user_id=524288), Output()
    sandbox.prepare()
    layout_of(sandbox.work / "image", tar(member("random", os.urandom(3 << 19))))

    async with open_session(Policy()) as session:
        push = registry_push(RegistryClient(session, Keyring(), actions="pull,push"))
        sifs = Sifs(push, limit=64 << 20, memory=2 << 30)
        with pytest.raises(BuildFailure, match="disk") as failure:
            await sifs.push(sandbox, "work/image", recipe("r.io/base:1", ""), Tail(output))

    assert failure.value.reason is Reason.DISK, output.text


@pytest.mark.parametrize(
    ("name", "architecture", "says"),
    [("../../escaped", "amd64", r"'\.\./\.\./escaped' is not a valid file name"), ("a", "s390x", "architecture s390x")],
)
async def test_what_no_sif_file_can_be_made_of_is_the_senders_fault(
    tmp_path: Path, name: str, architecture: str, says: str
) -> None:
    """The process that reads an image, also a malformed one, ends with a sentence."""
    sandbox = Sandbox(directory=tmp_path / "sandbox", user_id=524288)
    sandbox.directory.mkdir()
    sandbox.prepare()
    layout_of(sandbox.work / "image", tar(member(name, b"x")), architecture=architecture)

    async with open_session(Policy()) as session:
        push = registry_push(RegistryClient(session, Keyring(), actions="pull,push"))
        sifs = Sifs(push, limit=64 << 20, memory=2 << 30)
        with pytest.raises(BuildFailure, match=says) as failure:
            await sifs.push(sandbox, "work/image", recipe("r.io/base:1", ""), Tail(Output()))

    assert failure.value.reason is Reason.RECIPE
    assert not list(tmp_path.rglob("escaped"))
