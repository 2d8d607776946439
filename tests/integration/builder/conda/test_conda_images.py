"""Images of conda-direct for real: what is in them, what they share, on what they stand, and that they run."""

import ast
import gzip
import hashlib
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rattler import LockFile, PrefixRecord, RepoDataRecord, install

from builder.conda.model.lock import read_lock
from builder.domain.failure import BuildFailure
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.oci.digest import digest_of
from swell.provenance import Inputs, Provenance
from swell.signing.predicates import spdx
from swell.store.records import Reason
from swell.testing.images import make_image
from tests.e2e.engines import succeed
from tests.integration.builder.conda.channel import PLACEHOLDER, File, Made
from tests.integration.builder.conda.harness import (
    SPECS,
    CondaHarness,
    OpenHarness,
    channel,
    failure_of,
    harness,
    opened,
)
from tests.integration.builder.harness import gzipped_tar

__all__ = ["channel", "harness", "opened"]

ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


async def test_packages_of_every_kind_become_an_image(harness: CondaHarness) -> None:
    """Each file is where its package's kind says, with the prefix of the image in it, and readable by all users."""
    digest = await harness.build(*SPECS, to="kinds:1")

    assert hashlib.sha256(harness.registry.fetch("conda/kinds/manifests/1")[0]).hexdigest() == digest[7:]
    tree = harness.tree("kinds:1")
    site = "lib/python3.12/site-packages"
    assert tree["bin/tool"][1] == b"#!/bin/sh\ncat /opt/conda/share/tool/greeting; cat /opt/conda/lib/libgreet.so\n"
    assert tree["bin/tool-2"][0].linkname == "tool"
    assert tree["share/tool/twin"][0].linkname == "opt/conda/share/tool/greeting"
    assert tree[f"{site}/greeter/__init__.py"][1] == b"def main(): ...\n"
    assert tree["bin/greet-old"][1] == b"#!/opt/conda/bin/python\n"
    assert tree["bin/greet"][1].startswith(b"#!/opt/conda/bin/python3.12\n")
    assert {(member.uid, member.gid, member.uname) for member, _ in tree.values()} == {(0, 0, "")}
    assert {member.mode for member, _ in tree.values() if member.isfile()} == {0o644, 0o755}
    assert tree["share/tool/greeting"][0].mtime == 1_600_000_000
    assert tree["conda-meta/history"][0].mtime == 0


async def test_a_program_keeps_its_length_when_its_prefix_gets_shorter(harness: CondaHarness) -> None:
    """Else what stands behind would be somewhere else, and the program would not run."""
    await harness.build(*SPECS, to="binary:1")
    _, content = harness.tree("binary:1")["share/tool/where.bin"]
    original = b"\x7fELF\0" + f"{PLACEHOLDER}/share/tool:{PLACEHOLDER}/lib".encode() + b"\0\0after\0"
    assert len(content) == len(original)
    assert content.startswith(b"\x7fELF\0/opt/conda/share/tool:/opt/conda/lib\0")
    assert content.endswith(b"\0\0after\0")


async def test_the_image_runs(harness: CondaHarness) -> None:
    """Podman takes it like any other; what was installed is the first in the PATH, and its variables are set."""
    digest = await harness.build(*SPECS, to="runs:1")
    with tempfile.TemporaryDirectory(prefix="swell-") as folder:
        root = (f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs")
        auth = f"--authfile={harness.registry.auth_file}"
        run = ("run", "--rm", "--runtime=runc", "--network=none", "--ulimit=host", "--tls-verify=false", auth)
        image, command = f"{harness.image('runs')}@{digest}", ("sh", "-c", "tool-2; echo $TOOL_HOME")
        said = await succeed(*ALONE, "podman", *root, *run, image, *command)
    assert said.endswith("hello from /opt/conda\nlibrary\n/opt/conda/share/tool\n")


async def test_the_config_is_the_bases_and_condas(harness: CondaHarness) -> None:
    """A container of the image has the variables of an activated environment."""
    await harness.build(*SPECS, to="config:1")
    config = harness.config("config:1")
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    environment = dict(entry.split("=", 1) for entry in config["config"]["Env"])
    assert environment["PATH"].startswith("/opt/conda/bin:")
    assert environment["CONDA_PREFIX"] == "/opt/conda"
    assert environment["TOOL_HOME"] == "/opt/conda/share/tool"
    assert environment["BASH_ENV"] == "/opt/conda/etc/conda/activate.bash"
    diff_ids = [hashlib.sha256(gunzip(harness, layer)).hexdigest() for layer in harness.manifest("config:1")["layers"]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{found}" for found in diff_ids]


def gunzip(harness: CondaHarness, layer: dict[str, Any]) -> bytes:
    return gzip.decompress(harness.blob("config:1", layer["digest"]))


async def test_conda_reads_the_records(harness: CondaHarness, tmp_path: Path) -> None:
    """Tools in the image can list what is installed, where from, and which files belong to it."""
    await harness.build(*SPECS, to="records:1")
    tree = harness.tree("records:1")
    records = {name: content for name, (_, content) in tree.items() if name.endswith(".json") and "meta" in name}
    assert sorted(records) == [
        "conda-meta/greeter-1.0-0.json",
        "conda-meta/libgreet-1.2-0.json",
        "conda-meta/python-3.12.1-0.json",
        "conda-meta/tool-1.0-0.json",
    ]
    for name, content in records.items():
        path = tmp_path / Path(name).name
        path.write_bytes(content)
        record = PrefixRecord.from_path(path)
        assert record.url.startswith(harness.channel.url)
        assert {str(file) for file in record.files} <= tree.keys()
        for entry in json.loads(content)["paths_data"]["paths"]:
            if expected := entry.get("sha256_in_prefix"):
                assert hashlib.sha256(tree[entry["_path"]][1]).hexdigest() == expected


async def test_the_lock_is_logged_and_stored_in_the_image(harness: CondaHarness, tmp_path: Path) -> None:
    """An explicit list with hashes between the marks of the log; in the image also as pixi has it."""
    await harness.build(*SPECS, to="lock:1")
    logged_lock = harness.output.text.partition(">> CONDA_LOCK_START\n")[2].partition("\n<< CONDA_LOCK_END")[0]
    assert logged_lock.splitlines()[:2] == ["# platform: linux-64", "@EXPLICIT"]
    assert len([line for line in logged_lock.splitlines() if "#sha256:" in line]) == 4
    tree = harness.tree("lock:1")
    assert tree["conda-meta/environment.lock"][1].decode().strip() == logged_lock
    pixi = tmp_path / "pixi.lock"
    pixi.write_bytes(tree["conda-meta/pixi.lock"][1])
    locked = LockFile.from_path(pixi).default_environment()
    assert locked is not None
    assert {record.name.normalized for record in locked.conda_repodata_records()["linux-64"]} == {
        "greeter",
        "libgreet",
        "python",
        "tool",
    }


async def test_the_sbom_comes_from_the_solve(harness: CondaHarness) -> None:
    """Each package with its purl, channel, verified digest, and the licence of its own metadata."""
    await harness.build(*SPECS, to="sbom:1")
    lock = harness.output.text.partition(">> CONDA_LOCK_START\n")[2].partition("\n<< CONDA_LOCK_END")[0]
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC)
    facts = Provenance(
        build_id="bd-conda_1",
        image=harness.image("sbom:1"),
        digest=digest_of(b"image"),
        inputs=Inputs(containerfile="", platform="linux/amd64"),
        evidence=harness.evidence[-1],
        started=noon,
        ended=noon,
    )

    document = spdx("image", digest_of(b"image"), noon, lock, facts)

    assert document is not None
    packages = {package["name"]: package for package in document["packages"]}
    digests = {name: package["checksums"][0]["checksumValue"] for name, package in packages.items()}
    assert digests == {each.file.split("-")[0]: each.sha256 for each in read_lock(lock, "linux-64")}
    assert packages["tool"]["licenseDeclared"] == "BSD-3-Clause"
    purl = packages["tool"]["externalRefs"][0]["referenceLocator"]
    assert purl.startswith("pkg:conda/tool@") and "subdir=linux-64" in purl


async def test_rattler_installs_the_same(harness: CondaHarness, tmp_path: Path) -> None:
    """What conda's own rules make of these packages on a disk, by another implementation of them."""
    lock = await harness.solve(*SPECS)
    await harness.build(to="compared:1", lock=lock)
    folder, records = tmp_path / "archives", []
    folder.mkdir()
    for package in read_lock(lock, "linux-64"):
        archive = folder / package.file
        archive.write_bytes((harness.channel.folder / package.subdir / package.file).read_bytes())
        made = await RepoDataRecord.from_package_archive(archive)
        records.append(RepoDataRecord(made, package.file, package.url, package.channel))
    prefix = tmp_path / "prefix"
    await install(
        records,
        prefix,
        tmp_path / "rattler",
        show_progress=False,
        execute_link_scripts=False,
        alternative_target_prefix="/opt/conda",
    )
    theirs = {str(path.relative_to(prefix)): path for path in prefix.rglob("*") if path.is_symlink() or path.is_file()}
    ours = harness.tree("compared:1")
    ours_alone = {"conda-meta/environment.lock", "conda-meta/pixi.lock", "etc/conda/activate.bash"}
    files = {name for name, (member, _) in ours.items() if not member.isdir()}
    assert files - theirs.keys() == ours_alone
    assert theirs.keys() - files <= {"CACHEDIR.TAG"}
    for name in files & theirs.keys() - {name for name in files if name.startswith("conda-meta/")}:
        member, content = ours[name]
        if member.issym():
            assert theirs[name].readlink() == Path(member.linkname), name
        elif name == "bin/greet":  # the program that each writes, with its own blanks and quotes
            assert ast.dump(ast.parse(content)) == ast.dump(ast.parse(theirs[name].read_bytes()))
            assert content.splitlines()[0] == theirs[name].read_bytes().splitlines()[0]
        else:
            assert content == theirs[name].read_bytes(), name
            assert (member.mode & 0o100) == (theirs[name].stat().st_mode & 0o100), name


async def test_what_two_packages_have_is_taken_from_the_first(harness: CondaHarness) -> None:
    """By name, so that it is the same every time; the log has a line about it."""
    harness.channel.add(
        Made("aa", files={"share/both": File(b"first"), "lib64": File(link="lib"), "lib/real": File(b"")}),
        Made("bb", files={"share/both": File(b"second"), "lib64/through": File(b"through a link")}),
    )
    await harness.build("aa", "bb", to="both:1")
    tree = harness.tree("both:1")
    assert tree["share/both"][1] == b"first"
    assert tree["lib/through"][1] == b"through a link"
    assert tree["lib64"][0].linkname == "lib"
    assert "in several packages, using the first: share/both" in harness.output.text


async def test_the_same_request_is_the_same_image_everywhere(opened: OpenHarness, tmp_path: Path) -> None:
    """Two machines that share nothing but the channel make the same bytes, also in workspaces with other names."""
    digests = []
    for name in ("here", "elsewhere/deep"):
        async with opened(tmp_path / name) as harness:
            digests.append(await harness.build(*SPECS, to=f"same-{name[:4]}:1"))
    assert digests[0] == digests[1]


async def test_images_share_the_layers_of_their_packages(harness: CondaHarness) -> None:
    """What another image has brought to a machine is not brought again."""
    await harness.build(*SPECS, to="shared-a:1")
    await harness.build("tool", "python", to="shared-b:1")
    first, second = ({layer["digest"] for layer in harness.manifest(f"shared-{x}:1")["layers"]} for x in "ab")
    assert len(first) == 6
    assert len(second) == 5
    assert len(first & second) == 4  # the base, and one each for tool, libgreet and python


async def test_a_layer_of_many_packages_is_the_same_every_time(opened: OpenHarness, tmp_path: Path) -> None:
    """Small packages share one layer: here all of them."""
    digests = []
    for number in range(2):
        async with opened(tmp_path / f"few-{number}", conda_own_layer_size=1 << 20) as harness:
            digests.append(await harness.build(*SPECS, to=f"few-{number}:1"))
            assert len(harness.manifest(f"few-{number}:1")["layers"]) == 2
            assert "bin/tool" in harness.tree(f"few-{number}:1")
    assert len(set(digests)) == 1


async def test_a_frozen_config_and_its_layers_are_in_the_image(harness: CondaHarness, tmp_path: Path) -> None:
    """What would be added at the pull is there already, above the packages."""
    archive = gzipped_tar(tmp_path / "layer.tar.gz", {"opt/conda/bin/tool": b"mine", "added": b"x"})
    digest = digest_of(archive.read_bytes())
    config = ContainerConfig(env=("ADDED=yes",), cmd=("added",), layers=(ContainerLayer("", digest),))
    files = {f"layer-{digest[7:]}.tar.gz": archive}
    await harness.build("tool", to="frozen:1", config=config, files=files)
    assert harness.tree("frozen:1")["bin/tool"][1] == b"mine"
    assert harness.config("frozen:1")["config"]["Cmd"] == ["added"]
    assert "ADDED=yes" in harness.config("frozen:1")["config"]["Env"]
    diff_id = hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest()
    assert harness.config("frozen:1")["rootfs"]["diff_ids"][-1] == f"sha256:{diff_id}"


async def test_an_image_for_another_machine_needs_no_such_machine(harness: CondaHarness) -> None:
    """Nothing is run, so nothing is emulated."""
    harness.channel.add(Made("native", subdir="linux-aarch64", files={"bin/native": File(b"arm", mode=0o755)}))
    await harness.build("native", to="arm:1", platform="linux/arm64", base="scratch")
    assert harness.config("arm:1")["architecture"] == "arm64"
    assert harness.tree("arm:1")["bin/native"][1] == b"arm"


async def test_a_base_image_of_another_machine_is_refused(harness: CondaHarness) -> None:
    """Its programs would not run there."""
    harness.channel.add(Made("other", subdir="linux-aarch64", files={"bin/other": File(b"arm")}))
    with pytest.raises(BuildFailure, match="is not an image for linux/arm64") as failed:
        await harness.build("other", to="mixed:1", platform="linux/arm64")
    assert failed.value.reason is Reason.BASE_IMAGE


async def test_a_base_image_of_another_registry_is_verified_on_its_way(harness: CondaHarness) -> None:
    """What passes through here has the digest in its manifest, or is not pushed."""
    made = make_image("elsewhere")
    folder = harness.channel.folder / "v2/up/base"
    (folder / "manifests").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "manifests/1").write_bytes(made.manifest.content)
    (folder / "blobs" / made.config.digest).write_bytes(made.config.content)
    layer = folder / "blobs" / made.layers[0].digest
    base = f"{harness.channel.url.removeprefix('http://')}/up/base:1"

    layer.write_bytes(bytes(len(made.layers[0].gzipped)))
    assert await failure_of(harness, to="copied:1", base=base) is Reason.BASE_IMAGE
    layer.write_bytes(made.layers[0].gzipped + b"more")
    assert await failure_of(harness, to="copied:1", base=base) is Reason.BASE_IMAGE
    layer.write_bytes(made.layers[0].gzipped)
    await harness.build("tool", to="copied:1", base=base)

    assert harness.blob("copied:1", made.layers[0].digest) == made.layers[0].gzipped
    assert harness.config("copied:1")["config"]["Cmd"] == ["hello"]


async def test_an_image_has_so_many_bytes_and_no_more(opened: OpenHarness, tmp_path: Path) -> None:
    """One request must not fill the disk of all."""
    async with opened(tmp_path / "much", conda_image_limit=100) as harness:
        assert await failure_of(harness) is Reason.PACKAGE
