"""SIF files, and images of several platforms."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from swell_embedded.stack import Stack
from tests.e2e.builds.test_builds import manifest_path
from tests.e2e.builds.test_requests import LOCK, SAMTOOLS, SHOW, tool_images
from tests.e2e.busybox import archive
from tests.e2e.client import PLAIN, PUSHER, Fields, Swell, as_data, encoded
from tests.e2e.engines import ALONE, Engine, pull, run, succeed
from tests.e2e.upstreams import Upstreams, Web

BOTH = "linux/amd64,linux/arm64"
DEFINITION = """\
Bootstrap: docker
From: {base}

%files
    {{{{wave_context_dir}}}}/greeting.txt /opt/

%post
    echo "made by $(id -u) for $MODE" > /made
    echo 'export LATER=yes' >> $APPTAINER_ENVIRONMENT

%environment
    export GREETING="good  morning"

%labels
    Author Ada

%runscript
    echo "$GREETING, $1, $LATER"
    cat /made /opt/greeting.txt
"""
GREETING = archive({"greeting.txt": b"from the context\n"})


async def unpacked(sif: Path) -> Path:
    """Return the files in *sif*; the partition begins at the first page with the magic number of squashfs."""
    content = sif.read_bytes()
    offset = next(at for at in range(4096, len(content), 4096) if content[at : at + 4] == b"hsqs")
    folder = sif.with_suffix(".files")
    await succeed("unsquashfs", "-no-progress", "-o", str(offset), "-d", str(folder), str(sif))
    return folder


async def in_chroot(root: Path, *command: str) -> str:
    chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    ran = await run(str(chroot), str(root), *command, environment={"PATH": "/nowhere"})
    assert ran.status == 0, ran.output
    return ran.output


async def sif_of(swell: Swell, answer: Fields, folder: Path) -> Path:
    """Wait for the build of *answer* and return its SIF file, read by the user who requested it."""
    assert (await swell.ended(answer["buildId"]))["succeeded"], await swell.log(answer["buildId"])
    path = folder / "image.sif"
    path.write_bytes(await swell.bytes(f"/v1alpha1/builds/{answer['buildId']}/sif", PUSHER))
    return path


@pytest.mark.row("R6", "E8")
async def test_a_definition_becomes_a_sif_file_that_runs(
    swell: Swell,
    upstreams: Upstreams,
    images: str,
    tmp_path: Path,
) -> None:
    """It uses sections, a base image and a build context. The result is pushed as `oras://` clients expect."""
    request = {
        "containerFile": encoded(DEFINITION.format(base=upstreams.image())),
        "buildContext": as_data(GREETING),
        "format": "sif",
        "freeze": True,
        "buildRepository": images,
    }
    answer = await swell.submit(**request)
    sif = await sif_of(swell, answer, tmp_path)
    assert (await swell.read(f"/v1alpha1/builds/{answer['buildId']}/sif", PLAIN))[0] == 403  # not a user's own files
    root = await unpacked(sif)
    again = await swell.submit(**request)
    record = (await swell.get(f"/v1alpha1/builds/{answer['buildId']}"))[1]
    shown = await succeed("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{answer['targetImage'][7:]}")
    manifest = json.loads(shown)

    assert await in_chroot(root, "/.singularity.d/actions/run", "you") == (
        "good  morning, you, yes\nmade by 0 for base\nfrom the context\n"
    )
    assert not (root / "singularity.post").exists()
    assert answer["targetImage"] == answer["containerImage"] == f"oras://{images}:{answer['buildId'][3:19]}"
    assert (again["targetImage"], again["cached"], again["succeeded"]) == (answer["targetImage"], True, True)
    assert (record["format"], record["targetImage"]) == ("SINGULARITY", answer["targetImage"])
    assert record["dockerFile"] == DEFINITION.format(base=upstreams.image())
    assert record["digest"] == digest_of(shown.encode())
    assert manifest["mediaType"] == OCI_MANIFEST
    (layer,) = manifest["layers"]
    assert layer["mediaType"] == "application/vnd.sylabs.sif.layer.v1.sif"
    assert layer["annotations"]["org.opencontainers.image.title"] == "image.sif"
    assert (layer["digest"], layer["size"]) == (digest_of(sif.read_bytes()), sif.stat().st_size)


@pytest.mark.parametrize("kind", ["containerImage", "containerFile"])
async def test_a_frozen_sif_file_has_the_additions_unchanged(
    swell: Swell,
    upstreams: Upstreams,
    images: str,
    tmp_path: Path,
    kind: str,
) -> None:
    """An image or a Dockerfile gets a container config. Apptainer sees entrypoint, environment and layers."""
    source = upstreams.image() if kind == "containerImage" else encoded(f"FROM {upstreams.image()}\nENV STEP=1\n")
    config = {
        "entrypoint": ["/opt/show", "--all", "$HOME"],
        "env": ["QUOTED=a 'b' \"c\" $HOME", "EMPTY="],
        "layers": [as_data(SHOW)],
    }
    answer = await swell.submit(
        **{kind: source}, containerConfig=config, format="sif", freeze=True, buildRepository=images
    )

    root = await unpacked(await sif_of(swell, answer, tmp_path))
    said = (await in_chroot(root, "/.singularity.d/actions/run", "and `more`")).splitlines()

    assert {"args: --all $HOME and `more`", "MODE=base", "QUOTED=a 'b' \"c\" $HOME"} <= set(said)


async def test_packages_become_a_sif_file(swell: Swell, upstreams: Upstreams, images: str, tmp_path: Path) -> None:
    """The name contains the package names, the programs are in PATH, and the lock file is stored with the log."""
    answer = await swell.submit(
        packages=SAMTOOLS | {"condaOpts": await tool_images(upstreams)},
        format="sif",
        freeze=True,
        buildRepository=images,
    )
    root = await unpacked(await sif_of(swell, answer, tmp_path))
    path = await in_chroot(root, "/.singularity.d/actions/exec", "which", "samtools")

    assert answer["targetImage"] == f"oras://{images}:samtools-1.17--{answer['buildId'][3:19]}"
    assert path == "/opt/conda/bin/samtools\n"
    assert "- samtools=1.17" in (root / "opt/conda/bin/samtools").read_text()
    assert await swell.bytes(f"/v1alpha1/builds/{answer['buildId']}/condalock") == LOCK


async def test_a_definition_that_cannot_be_built_is_refused_at_once(swell: Swell, images: str) -> None:
    """The message names the section, and no build is queued."""
    definition = "Bootstrap: docker\nFrom: debian\n%setup\n    touch /etc/passwd\n"
    status, answer = await swell.post(
        containerFile=encoded(definition), format="sif", freeze=True, buildRepository=images
    )

    assert (status, answer["code"]) == (400, "BAD_REQUEST")
    assert "%setup" in answer["message"]


async def test_a_sif_file_can_be_downloaded_in_parts(
    stack: Stack, swell: Swell, upstreams: Upstreams, images: str, tmp_path: Path
) -> None:
    """A client can resume a download, and an unchanged file is not sent again."""
    answer = await swell.submit(containerImage=upstreams.image(), format="sif", freeze=True, buildRepository=images)
    whole = (await sif_of(swell, answer, tmp_path)).read_bytes()
    url, part = f"{stack.url}/v1alpha1/builds/{answer['buildId']}/sif", tmp_path / "part"
    curl = ("curl", "-sS", "-L", "-o", str(part), "-w", "%{http_code}")

    statuses = [await succeed(*curl, "-r", "4096-8191", url)]
    middle = part.read_bytes()
    statuses.append(await succeed(*curl, "-C", "4096", url))
    statuses.append(await succeed(*curl, "-H", f'If-None-Match: "{digest_of(whole)}"', url))

    assert statuses == ["206", "206", "304"]
    assert middle == whole[4096:8192]


@pytest.mark.parametrize("platforms", [BOTH, "arm64, linux/amd64"])
async def test_an_image_for_both_platforms_is_pulled_by_each(
    swell: Swell, upstreams: Upstreams, tmp_path: Path, platforms: str
) -> None:
    """One name gives each client the image of its platform, built from the base of that platform."""
    containerfile = f"FROM {upstreams.image('oci-index')}\nCOPY greeting.txt /\nENV ORDER='{platforms}'\n"
    answer = await swell.build(containerfile, buildContext=as_data(GREETING), containerPlatform=platforms)
    folder = tmp_path / "arm64"
    skopeo = ("skopeo", "--override-arch=arm64", "copy", "--src-tls-verify=false")
    await succeed(*skopeo, f"docker://{answer['targetImage']}", f"oci:{folder}:image")
    with TemporaryDirectory(prefix="e2e-") as store:  # podman requires a short path
        podman = (*ALONE, "podman", f"--root={store}/root", f"--runroot={store}/run")
        await succeed(*podman, "pull", "--tls-verify=false", "--platform=linux/arm64", answer["targetImage"])
        held = await succeed(*podman, "image", "inspect", "--format={{.Architecture}}", answer["targetImage"])
    amd64 = await pull(answer["targetImage"], tmp_path / "amd64")
    record = (await swell.get(f"/v1alpha1/builds/{answer['buildId']}"))[1]
    children = {each["value"]: each["id"] for each in record["buildChildIds"]["refs"]}
    log = await swell.log(answer["buildId"])

    assert amd64.status == 0, amd64.output
    assert held.strip() == "arm64"
    assert record["platform"] == BOTH
    assert set(children) == set(BOTH.split(","))
    assert [config_of(tmp_path / each)["architecture"] for each in ("amd64", "arm64")] == ["amd64", "arm64"]
    assert "BUILT_FOR=arm64" in config_of(folder)["config"]["Env"]
    assert all(child in log for child in children.values())
    assert answer["containerImage"].endswith(f":{answer['buildId'][3:19]}")


def config_of(layout: Path) -> Fields:
    """Return the config of the only image in an OCI layout."""

    def read(digest: str) -> Fields:
        return dict(json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()))

    index = json.loads((layout / "index.json").read_bytes())
    return read(read(index["manifests"][0]["digest"])["config"]["digest"])


@pytest.mark.parametrize("engine", ["podman"], indirect=True)
async def test_each_platform_has_its_own_fusion_layer(
    swell: Swell,
    upstreams: Upstreams,
    web: Web,
    images: str,
    engine: Engine,
) -> None:
    """A layer for one platform is added to that image only; other layers are added to both."""
    layers = [as_data(SHOW)]
    for name in ("amd64", "arm64"):
        layer = archive({"fusion": f"for {name}\n".encode()})
        layers.append(as_data(layer) | {"location": web.add(f"fusion-{name}.tar.gz", layer.gzipped)})
    answer = await swell.build(
        f"FROM {upstreams.image('oci-index')}\n",
        containerConfig={"layers": layers, "cmd": ["cat", "/fusion"]},
        containerPlatform=BOTH,
        freeze=True,
        buildRepository=images,
    )
    assert (await swell.ended(answer["buildId"]))["succeeded"], await swell.log(answer["buildId"])
    index = json.loads(
        await succeed("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{answer['targetImage']}")
    )

    said = await engine.run(answer["targetImage"])

    assert said == "for amd64\n"
    assert index["mediaType"] == OCI_INDEX
    assert [each["platform"]["architecture"] for each in index["manifests"]] == ["amd64", "arm64"]
    assert len({each["digest"] for each in index["manifests"]}) == 2


async def test_a_platform_that_fails_is_named(swell: Swell, upstreams: Upstreams) -> None:
    """A new request does not build the successful platform again."""
    # the base has no file with this name for arm64
    containerfile = f"FROM {upstreams.image('oci-index')}\nARG TARGETARCH\nCOPY file-for-$TARGETARCH /file\n"
    context = as_data(archive({"file-for-amd64": b"x"}))
    first = await swell.build(containerfile, buildContext=context, containerPlatform=BOTH)
    ended = await swell.ended(first["buildId"])
    status = (await swell.get(f"/v1alpha2/container/{first['requestId']}/status"))[1]

    again = await swell.build(containerfile, buildContext=context, containerPlatform=BOTH)
    await swell.ended(again["buildId"])
    record = (await swell.get(f"/v1alpha1/builds/{again['buildId']}"))[1]
    status_of_pull, refused = await swell.get(manifest_path(first["targetImage"]))

    assert ended["succeeded"] is False
    assert "linux/arm64" in status["reason"]
    assert "linux/amd64" not in status["reason"]
    assert [each["value"] for each in record["buildChildIds"]["refs"]] == ["linux/arm64"]
    assert status_of_pull == 404
    assert "linux/arm64" in refused["errors"][0]["message"]
