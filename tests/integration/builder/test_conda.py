"""The conda-direct engine for real: a channel over http, a registry with a password, and containers that run."""

import ast
import asyncio
import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import urllib.error
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rattler import LockFile, PrefixRecord, RepoDataRecord, install

from builder.adapters.conda import CondaEngine
from builder.build import Recipe
from builder.domain.conda_lock import read_lock
from builder.domain.failure import BuildFailure
from builder.settings import CondaSettings
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.package_layers import PackageLayers
from swell.errors import AddressForbidden, BadRequest, SwellError, UpstreamFailed
from swell.oci.digest import Digest, digest_of
from swell.oci.platform import parse_platform
from swell.outbound import Policy, open_session
from swell.store.records import Reason
from swell.testing.images import make_image
from tests.e2e.engines import succeed

from .channel import PLACEHOLDER, Channel, File, Made, every_kind, serving, shell
from .conftest import Output, Registry, gzipped_tar

ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
WISH = ("tool", "greeter", "python")


class Kitchen:
    """An engine in a workspace of its own, and what it takes to use it."""

    def __init__(self, engine: CondaEngine, registry: Registry, channel: Channel, base: str) -> None:
        self.engine = engine
        self.registry = registry
        self.channel = channel
        self.base = base
        self.output = Output()
        self.began = asyncio.Event()

    async def tell(self, line: bytes) -> None:
        self.began.set()
        await self.output(line)

    async def solve(self, *specs: str, platform: str = "linux/amd64") -> str:
        return await self.engine.solving.solve(specs, [self.channel.url], "", parse_platform(platform))

    async def build(self, *specs: str, to: str, platform: str = "linux/amd64", **wanted: Any) -> Digest:
        """Solve *specs*, build them, push them as *to*; the digest."""
        lock = wanted.get("lock") or await self.solve(*specs, platform=platform)
        recipe = Recipe(
            build_id="bd-conda_1",
            target_image=self.image(to),
            containerfile="FROM scratch",
            platform=platform,
            packages=PackageLayers(base_image=wanted.get("base", self.base), lock=lock, config=wanted.get("config")),
            files=wanted.get("files", {}),
        )
        self.output = Output()
        return await self.engine.build(recipe, self.tell)

    def image(self, name: str) -> str:
        return f"{self.registry.address}/conda/{name}"

    def manifest(self, name: str) -> dict[str, Any]:
        repository, _, tag = name.partition(":")
        return dict(json.loads(self.registry.fetch(f"conda/{repository}/manifests/{tag}")[0]))

    def blob(self, name: str, digest: str) -> bytes:
        return self.registry.fetch(f"conda/{name.partition(':')[0]}/blobs/{digest}")[0]

    def config(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.blob(name, self.manifest(name)["config"]["digest"])))

    def tree(self, name: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Everything below the prefix, of all layers."""
        found = {}
        for layer in self.manifest(name)["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self.blob(name, layer["digest"]))) as tar:
                for member in tar:
                    if member.name.startswith("opt/conda/"):
                        file = tar.extractfile(member) if member.isfile() or member.islnk() else None
                        found[member.name.removeprefix("opt/conda/")] = (member, file.read() if file else b"")
        return found


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    (tmp_path / "channel").mkdir()
    with serving(tmp_path / "channel") as channel:
        channel.add(*every_kind())
        yield channel


@pytest.fixture
def opened(registry: Registry, channel: Channel, base: str) -> Any:
    @asynccontextmanager
    async def open_kitchen(workspace: Path, **settings: Any) -> AsyncIterator[Kitchen]:
        known: dict[str, Any] = {
            "workspace": workspace,
            "pull_auth_file": registry.auth_file,
            "push_auth_file": registry.auth_file,
            "allowed_hosts": frozenset({registry.address, channel.url.removeprefix("http://")}),
            "build_timeout": timedelta(seconds=60),
            "conda_own_layer_size": 1,
        }
        told = CondaSettings(**(known | settings))
        async with open_session(Policy(told.allowed_hosts)) as session, CondaEngine.open(told, session) as engine:
            yield Kitchen(engine, registry, channel, base)

    return open_kitchen


OpenKitchen = Any


@pytest.fixture
async def kitchen(opened: OpenKitchen, tmp_path: Path) -> AsyncIterator[Kitchen]:
    async with opened(tmp_path / "workspace") as kitchen:
        yield kitchen


async def test_packages_of_every_kind_become_an_image(kitchen: Kitchen) -> None:
    """Each file is where its package's kind says, with the prefix of the image in it, and readable by everybody."""
    digest = await kitchen.build(*WISH, to="kinds:1")

    assert hashlib.sha256(kitchen.registry.fetch("conda/kinds/manifests/1")[0]).hexdigest() == digest[7:]
    tree = kitchen.tree("kinds:1")
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


async def test_a_program_keeps_its_length_when_its_prefix_gets_shorter(kitchen: Kitchen) -> None:
    """Else what stands behind would be somewhere else, and the program would not run."""
    await kitchen.build(*WISH, to="binary:1")
    _, content = kitchen.tree("binary:1")["share/tool/where.bin"]
    original = b"\x7fELF\0" + f"{PLACEHOLDER}/share/tool:{PLACEHOLDER}/lib".encode() + b"\0\0after\0"
    assert len(content) == len(original)
    assert content.startswith(b"\x7fELF\0/opt/conda/share/tool:/opt/conda/lib\0")
    assert content.endswith(b"\0\0after\0")


async def test_the_image_runs(kitchen: Kitchen) -> None:
    """Podman takes it like any other; what was installed is the first in the PATH, and its variables are set."""
    digest = await kitchen.build(*WISH, to="runs:1")
    with tempfile.TemporaryDirectory(prefix="swell-") as folder:
        root = (f"--root={folder}/root", f"--runroot={folder}/run", "--storage-driver=vfs")
        auth = f"--authfile={kitchen.registry.auth_file}"
        run = ("run", "--rm", "--runtime=runc", "--network=none", "--ulimit=host", "--tls-verify=false", auth)
        image, command = f"{kitchen.image('runs')}@{digest}", ("sh", "-c", "tool-2; echo $TOOL_HOME")
        said = await succeed(*ALONE, "podman", *root, *run, image, *command)
    assert said.endswith("hello from /opt/conda\nlibrary\n/opt/conda/share/tool\n")


async def test_the_config_is_the_bases_and_condas(kitchen: Kitchen) -> None:
    """Whoever runs the image sees what an activated environment has, as far as variables can say it."""
    await kitchen.build(*WISH, to="config:1")
    config = kitchen.config("config:1")
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    environment = dict(entry.split("=", 1) for entry in config["config"]["Env"])
    assert environment["PATH"].startswith("/opt/conda/bin:")
    assert environment["CONDA_PREFIX"] == "/opt/conda"
    assert environment["TOOL_HOME"] == "/opt/conda/share/tool"
    assert environment["BASH_ENV"] == "/opt/conda/etc/conda/activate.bash"
    diff_ids = [hashlib.sha256(gunzip(kitchen, layer)).hexdigest() for layer in kitchen.manifest("config:1")["layers"]]
    assert config["rootfs"]["diff_ids"] == [f"sha256:{found}" for found in diff_ids]


def gunzip(kitchen: Kitchen, layer: dict[str, Any]) -> bytes:
    return gzip.decompress(kitchen.blob("config:1", layer["digest"]))


async def test_conda_reads_the_records(kitchen: Kitchen, tmp_path: Path) -> None:
    """Tools in the image can tell what is installed, where from, and which files belong to it."""
    await kitchen.build(*WISH, to="records:1")
    tree = kitchen.tree("records:1")
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
        assert record.url.startswith(kitchen.channel.url)
        assert {str(file) for file in record.files} <= tree.keys()
        for entry in json.loads(content)["paths_data"]["paths"]:
            if expected := entry.get("sha256_in_prefix"):
                assert hashlib.sha256(tree[entry["_path"]][1]).hexdigest() == expected


async def test_the_lock_is_told_and_kept_in_the_image(kitchen: Kitchen, tmp_path: Path) -> None:
    """An explicit list with hashes between the marks of the log; in the image also as pixi has it."""
    await kitchen.build(*WISH, to="lock:1")
    told = kitchen.output.text.partition(">> CONDA_LOCK_START\n")[2].partition("\n<< CONDA_LOCK_END")[0]
    assert told.splitlines()[:2] == ["# platform: linux-64", "@EXPLICIT"]
    assert len([line for line in told.splitlines() if "#sha256:" in line]) == 4
    tree = kitchen.tree("lock:1")
    assert tree["conda-meta/environment.lock"][1].decode().strip() == told
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


async def test_the_same_request_is_the_same_image_everywhere(opened: OpenKitchen, tmp_path: Path) -> None:
    """Two machines that share nothing but the channel make the same bytes, whatever their workspace is called."""
    digests = []
    for name in ("here", "elsewhere/deep"):
        async with opened(tmp_path / name) as kitchen:
            digests.append(await kitchen.build(*WISH, to=f"same-{name[:4]}:1"))
    assert digests[0] == digests[1]


async def test_images_share_the_layers_of_their_packages(kitchen: Kitchen) -> None:
    """What another image has brought to a machine is not brought again."""
    await kitchen.build(*WISH, to="shared-a:1")
    await kitchen.build("tool", "python", to="shared-b:1")
    first, second = ({layer["digest"] for layer in kitchen.manifest(f"shared-{x}:1")["layers"]} for x in "ab")
    assert len(first) == 6
    assert len(second) == 5
    assert len(first & second) == 4  # the base, and one each for tool, libgreet and python


async def test_what_was_fetched_is_not_fetched_again(kitchen: Kitchen) -> None:
    """A warm cache asks the channel for nothing; its own hash says whether it may be used."""
    await kitchen.build(*WISH, to="cached:1")
    kitchen.channel.asked.clear()
    await kitchen.build(*WISH, to="cached:1")
    assert kitchen.channel.asked == []


async def test_a_spoilt_cache_is_fetched_again(kitchen: Kitchen, tmp_path: Path) -> None:
    """A file on our own disk is believed no more than one from elsewhere."""
    first = await kitchen.build(*WISH, to="spoilt:1")
    for kept in (tmp_path / "workspace/conda/packages").iterdir():
        kept.write_bytes(b"spoilt")
    kitchen.channel.asked.clear()
    assert await kitchen.build(*WISH, to="spoilt:2") == first
    assert len(kitchen.channel.asked) == 4


async def test_a_package_with_other_bytes_fails_the_build(kitchen: Kitchen) -> None:
    """The channel says one hash and sends other bytes: nothing is pushed, and the message says whose it is."""
    kitchen.channel.add(Made("forged", files={"bin/forged": File(b"bad")}), sha256="0" * 64)
    with pytest.raises(BuildFailure, match=r"forged-1\.0-0\.conda has other bytes than its channel says") as failed:
        await kitchen.build("forged", to="forged:1")
    assert failed.value.reason is Reason.PACKAGE
    with pytest.raises(urllib.error.HTTPError, match="404"):
        kitchen.registry.fetch("conda/forged/manifests/1")


async def test_scripts_at_the_installation_are_refused(kitchen: Kitchen) -> None:
    """Nothing is run here; the message names the package, and the template that can do it."""
    kitchen.channel.add(Made("scripted", files={"bin/.scripted-post-link.sh": shell("touch PREFIX/done\n")}))
    with pytest.raises(BuildFailure, match="scripted: .*conda/micromamba:v2") as failed:
        await kitchen.build("scripted", to="scripted:1")
    assert failed.value.reason is Reason.PACKAGE


async def test_what_cannot_be_solved_is_explained(kitchen: Kitchen) -> None:
    """The solver's own words, for whoever asked."""
    with pytest.raises(BadRequest, match="(?s)cannot be installed together.*libgreet >=1,<2"):
        await kitchen.solve("tool", "libgreet=2")
    with pytest.raises(BadRequest, match="No candidates were found for nothing"):
        await kitchen.solve("nothing")
    address = [f"{kitchen.channel.url}/absent"]
    with pytest.raises(BadRequest, match="there is no channel"):
        await kitchen.engine.solving.solve(["tool"], address, "", parse_platform("linux/amd64"))


async def test_a_channel_where_nobody_may_go_is_refused(opened: OpenKitchen, tmp_path: Path) -> None:
    """The solver cannot be used to look into this machine's network or disk."""
    async with opened(tmp_path / "guarded", allowed_hosts=frozenset()) as kitchen:
        with pytest.raises(AddressForbidden):
            await kitchen.solve("tool")
        with pytest.raises(AddressForbidden):
            await kitchen.engine.solving.solve(["x"], [f"file://{tmp_path}"], "", parse_platform("linux/amd64"))


async def test_a_folder_of_the_operators_is_a_channel(opened: OpenKitchen, channel: Channel, tmp_path: Path) -> None:
    """Below it, and nowhere else."""
    async with opened(tmp_path / "local", conda_local_channels=channel.folder) as kitchen:
        channels = [f"file://{channel.folder}"]
        lock = await kitchen.engine.solving.solve(["tool"], channels, "", parse_platform("linux/amd64"))
        await kitchen.build(to="local:1", lock=lock)
        assert "bin/tool" in kitchen.tree("local:1")
        with pytest.raises(AddressForbidden):
            await kitchen.engine.solving.solve(["x"], ["file:///etc"], "", parse_platform("linux/amd64"))


async def test_an_image_for_another_machine_needs_no_such_machine(kitchen: Kitchen) -> None:
    """Nothing is run, so nothing is emulated."""
    kitchen.channel.add(Made("native", subdir="linux-aarch64", files={"bin/native": File(b"arm", mode=0o755)}))
    await kitchen.build("native", to="arm:1", platform="linux/arm64", base="scratch")
    assert kitchen.config("arm:1")["architecture"] == "arm64"
    assert kitchen.tree("arm:1")["bin/native"][1] == b"arm"


async def test_a_base_image_of_another_machine_is_refused(kitchen: Kitchen) -> None:
    """Its programs would not run there."""
    kitchen.channel.add(Made("other", subdir="linux-aarch64", files={"bin/other": File(b"arm")}))
    with pytest.raises(BuildFailure, match="is no image for linux/arm64") as failed:
        await kitchen.build("other", to="mixed:1", platform="linux/arm64")
    assert failed.value.reason is Reason.BASE_IMAGE


async def test_what_two_packages_have_is_taken_from_the_first(kitchen: Kitchen) -> None:
    """By name, so that it is the same every time; the log tells."""
    kitchen.channel.add(
        Made("aa", files={"share/both": File(b"first"), "lib64": File(link="lib"), "lib/real": File(b"")}),
        Made("bb", files={"share/both": File(b"second"), "lib64/through": File(b"through a link")}),
    )
    await kitchen.build("aa", "bb", to="both:1")
    tree = kitchen.tree("both:1")
    assert tree["share/both"][1] == b"first"
    assert tree["lib/through"][1] == b"through a link"
    assert tree["lib64"][0].linkname == "lib"
    assert "in several packages, taken from the first: share/both" in kitchen.output.text


async def test_a_build_leaves_nothing_behind(kitchen: Kitchen, tmp_path: Path) -> None:
    """However it ends: well, badly, or cancelled in the middle."""
    kitchen.channel.add(Made("bad", files={"../outside": File(b"x")}))
    await kitchen.build(*WISH, to="clean:1")
    with pytest.raises(BuildFailure, match="is none below a prefix"):
        await kitchen.build("bad", to="clean:2")
    lock = await kitchen.solve(*WISH)
    kitchen.began.clear()
    task = asyncio.ensure_future(kitchen.build(to="clean:3", lock=lock))
    async with asyncio.timeout(10):
        await kitchen.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "workspace/conda/builds").iterdir()) == []
    assert list((tmp_path / "workspace/conda/scratch").iterdir()) == []


async def test_the_cache_keeps_to_its_size(opened: OpenKitchen, tmp_path: Path) -> None:
    """The package that was not used for the longest time goes; a build that uses one keeps it to its end."""
    async with opened(tmp_path / "small", conda_package_cache=1) as kitchen:
        await kitchen.build(*WISH, to="small:1")
    assert len(list((tmp_path / "small/conda/packages").iterdir())) == 1


async def test_a_list_that_has_become_old_is_asked_for_again(opened: OpenKitchen, tmp_path: Path) -> None:
    """What came yesterday can be had today; an unchanged list is not sent again, even to a builder that restarts."""
    async with opened(tmp_path / "old", conda_repodata_age=timedelta(0)) as kitchen:
        await kitchen.solve("tool")
        kitchen.channel.add(Made("late", files={"bin/late": File(b"x")}))
        assert "late-1.0" in await kitchen.solve("late")
        kitchen.channel.statuses.clear()
        await kitchen.solve("tool")
        assert kitchen.channel.statuses == [304, 304]
    async with opened(tmp_path / "old") as restarted:
        restarted.channel.statuses.clear()
        await restarted.solve("late")
        assert restarted.channel.statuses == [304, 304]
        await restarted.solve("late")
        assert restarted.channel.statuses == [304, 304]


async def test_a_layer_is_made_once(kitchen: Kitchen, tmp_path: Path) -> None:
    """What another build has made is taken as it is, unless it is not what it was."""
    first = await kitchen.build(*WISH, to="made:1")
    made = tmp_path / "workspace/conda/layers"
    before = {path.name: path.stat().st_ino for path in made.iterdir()}
    assert len(before) == 8  # a layer and a note for each package
    assert await kitchen.build(*WISH, to="made:2") == first
    assert {path.name: path.stat().st_ino for path in made.iterdir()} == before
    for path in made.iterdir():
        path.write_bytes(b"spoilt")
    assert await kitchen.build(*WISH, to="made-elsewhere:1") == first
    assert {path.name for path in made.iterdir()} == before.keys()


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b"not json"])
async def test_a_channel_that_makes_no_sense_is_told_apart_from_ours(kitchen: Kitchen, spoilt: bytes) -> None:
    """It is the channel's trouble: no stack trace, and nothing of it is kept."""
    for name in ("noarch/repodata.json", "linux-64/repodata.json"):
        (kitchen.channel.folder / name).write_bytes(spoilt)
    (kitchen.channel.folder / "linux-64/repodata.json.zst").unlink()
    with pytest.raises(SwellError) as failed:
        await kitchen.solve("tool")
    assert isinstance(failed.value, UpstreamFailed)
    kitchen.channel.write()
    assert "tool-1.0" in await kitchen.solve("tool")


async def test_a_packed_list_that_cannot_be_unpacked_is_the_channels_trouble(kitchen: Kitchen) -> None:
    """As is one that is cut off."""
    packed = kitchen.channel.folder / "linux-64/repodata.json.zst"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(UpstreamFailed):
        await kitchen.solve("tool")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + b"\0" * 18, b"x" * 1000])
async def test_an_archive_that_is_none_fails_the_build(kitchen: Kitchen, content: bytes) -> None:
    """Although it has the hash that the channel tells."""

    class Broken(Made):
        def archive(self) -> bytes:
            return content

    kitchen.channel.add(Broken("broken"), Broken("broken-old", old_format=True))
    for name in ("broken", "broken-old"):
        with pytest.raises(BuildFailure, match=f"The package {name}-1.0-0.* cannot be put into an image") as failed:
            await kitchen.build(name, to="broken:1")
        assert failed.value.reason is Reason.PACKAGE


async def test_an_archive_that_is_too_large_fails_the_build(opened: OpenKitchen, tmp_path: Path) -> None:
    """Packed or unpacked: a small archive may hold a file that fills the disk."""
    async with opened(tmp_path / "large", conda_package_limit=100_000) as kitchen:
        zeros = {"share/zeros": File(bytes(1_000_000))}
        kitchen.channel.add(Made("zeros", files=zeros), Made("zeros-old", files=zeros, old_format=True))
        for name in ("zeros", "zeros-old"):
            with pytest.raises(BuildFailure, match="too large"):
                await kitchen.build(name, to="large:1")


async def test_rattler_installs_the_same(kitchen: Kitchen, tmp_path: Path) -> None:
    """What conda's own rules make of these packages on a disk, by another implementation of them."""
    lock = await kitchen.solve(*WISH)
    await kitchen.build(to="compared:1", lock=lock)
    folder, records = tmp_path / "archives", []
    folder.mkdir()
    for package in read_lock(lock, "linux-64"):
        archive = folder / package.file
        archive.write_bytes((kitchen.channel.folder / package.subdir / package.file).read_bytes())
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
    ours = kitchen.tree("compared:1")
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


async def failure_of(kitchen: Kitchen, **wanted: Any) -> Reason:
    lock = await kitchen.solve("tool")
    with pytest.raises(BuildFailure) as failed:
        await kitchen.build(**({"to": "refused:1", "lock": lock} | wanted))
    return failed.value.reason


async def test_credentials_are_those_of_now(opened: OpenKitchen, registry: Registry, tmp_path: Path) -> None:
    """An operator takes them away, and the next build has them no more, although the last one had the same image."""
    auth = tmp_path / "auth.json"
    auth.write_bytes(registry.auth_file.read_bytes())
    async with opened(tmp_path / "taken", pull_auth_file=auth) as kitchen:
        await kitchen.build("tool", to="taken:1")
        auth.write_text("{}")
        assert await failure_of(kitchen) is Reason.BASE_IMAGE
        auth.unlink()
        assert await failure_of(kitchen) is Reason.ENGINE


@pytest.mark.parametrize("lock", ["no lock", "@EXPLICIT\nhttps://x.example.org/noarch/a-1-0.conda#md5"])
async def test_a_lock_that_is_none_is_the_recipes_fault(kitchen: Kitchen, lock: str) -> None:
    """A job is a message; whoever wrote it may have been another version of us."""
    assert await failure_of(kitchen, lock=lock) is Reason.RECIPE


async def test_builds_at_once_do_not_meet(kitchen: Kitchen) -> None:
    """They share what they fetch and make, and each becomes its own image."""
    lock = await kitchen.solve(*WISH)
    kitchen.channel.asked.clear()
    digests = await asyncio.gather(*(kitchen.build(to=f"at-once-{number}:1", lock=lock) for number in range(6)))
    assert len(set(digests)) == 1
    assert len(kitchen.channel.asked) == len(set(kitchen.channel.asked)) == 4
    assert {name: len(kitchen.manifest(f"at-once-{name}:1")["layers"]) for name in range(6)} == dict.fromkeys(
        range(6), 6
    )


async def test_a_layer_of_many_packages_is_the_same_every_time(opened: OpenKitchen, tmp_path: Path) -> None:
    """Small packages share one layer: here all of them."""
    digests = []
    for number in range(2):
        async with opened(tmp_path / f"few-{number}", conda_own_layer_size=1 << 20) as kitchen:
            digests.append(await kitchen.build(*WISH, to=f"few-{number}:1"))
            assert len(kitchen.manifest(f"few-{number}:1")["layers"]) == 2
            assert "bin/tool" in kitchen.tree(f"few-{number}:1")
    assert len(set(digests)) == 1


async def test_a_frozen_config_and_its_layers_are_in_the_image(kitchen: Kitchen, tmp_path: Path) -> None:
    """What would be added at the pull is there already, above the packages."""
    archive = gzipped_tar(tmp_path / "layer.tar.gz", {"opt/conda/bin/tool": b"mine", "added": b"x"})
    digest = digest_of(archive.read_bytes())
    config = ContainerConfig(env=("ADDED=yes",), cmd=("added",), layers=(ContainerLayer("", digest),))
    files = {f"layer-{digest[7:]}.tar.gz": archive}
    await kitchen.build("tool", to="frozen:1", config=config, files=files)
    assert kitchen.tree("frozen:1")["bin/tool"][1] == b"mine"
    assert kitchen.config("frozen:1")["config"]["Cmd"] == ["added"]
    assert "ADDED=yes" in kitchen.config("frozen:1")["config"]["Env"]
    diff_id = hashlib.sha256(gzip.decompress(archive.read_bytes())).hexdigest()
    assert kitchen.config("frozen:1")["rootfs"]["diff_ids"][-1] == f"sha256:{diff_id}"


async def test_a_channel_that_stands_first_is_preferred(kitchen: Kitchen) -> None:
    """Though another has a newer version, unless that one is asked for by its name."""
    (kitchen.channel.folder / "second").mkdir()
    second = Channel(kitchen.channel.folder / "second", f"{kitchen.channel.url}/second")
    second.add(Made("tool", "9.0"))
    first = kitchen.channel.url
    solve = kitchen.engine.solving.solve
    amd64 = parse_platform("linux/amd64")
    assert "/linux-64/tool-1.0-0.conda" in await solve(["tool"], [first, second.url], "", amd64)
    assert f"{second.url}/linux-64/tool-9.0-0.conda" in await solve([f"{second.url}::tool"], [first], "", amd64)


async def test_packages_are_chosen_for_the_image_not_for_this_machine(kitchen: Kitchen) -> None:
    """For the glibc that base images have at least; as if there were a graphics card where nothing else will do."""
    kitchen.channel.add(
        Made("old", depends=("__glibc >=2.17",)),
        Made("old", "2.0", depends=("__glibc >=2.99",)),
        Made("graphics", depends=("__cuda >=12",)),
        Made("either", build="cpu_0"),
        Made("either", build="gpu_0", depends=("__cuda >=12",)),
    )
    assert "old-1.0" in await kitchen.solve("old")
    assert "graphics-1.0" in await kitchen.solve("graphics")
    assert "either-1.0-cpu_0" in await kitchen.solve("either")


async def test_a_base_image_of_another_registry_is_verified_on_its_way(kitchen: Kitchen) -> None:
    """What passes through here has the digest that its manifest tells, or is not pushed."""
    made = make_image("elsewhere")
    folder = kitchen.channel.folder / "v2/up/base"
    (folder / "manifests").mkdir(parents=True)
    (folder / "blobs").mkdir()
    (folder / "manifests/1").write_bytes(made.manifest.content)
    (folder / "blobs" / made.config.digest).write_bytes(made.config.content)
    layer = folder / "blobs" / made.layers[0].digest
    base = f"{kitchen.channel.url.removeprefix('http://')}/up/base:1"

    layer.write_bytes(bytes(len(made.layers[0].gzipped)))
    assert await failure_of(kitchen, to="copied:1", base=base) is Reason.BASE_IMAGE
    layer.write_bytes(made.layers[0].gzipped + b"more")
    assert await failure_of(kitchen, to="copied:1", base=base) is Reason.BASE_IMAGE
    layer.write_bytes(made.layers[0].gzipped)
    await kitchen.build("tool", to="copied:1", base=base)

    assert kitchen.blob("copied:1", made.layers[0].digest) == made.layers[0].gzipped
    assert kitchen.config("copied:1")["config"]["Cmd"] == ["hello"]


async def test_an_image_has_so_many_bytes_and_no_more(opened: OpenKitchen, tmp_path: Path) -> None:
    """One request must not fill the disk of all."""
    async with opened(tmp_path / "much", conda_image_limit=100) as kitchen:
        assert await failure_of(kitchen) is Reason.PACKAGE
