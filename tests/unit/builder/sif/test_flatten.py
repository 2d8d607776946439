"""One tar of an image's layers, from any builder: the result can be packed, and nothing was unpacked."""

import gzip
import io
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.sif.flatten import flatten, write
from builder.sif.layout import Layout
from builder.sif.rootfs import LayerInvalid
from swell.oci.digest import digest_of
from tests.unit.builder.sif.layouts import layout_of, member, tar

FILES = {".singularity.d/runscript": "#!/bin/sh\n", ".singularity.d/labels.json": "{}"}


MakeLayout = Callable[..., Layout]


@pytest.fixture
def make_layout(tmp_path: Path) -> MakeLayout:
    """An OCI layout of an image of some layers."""
    return partial(layout_of, tmp_path)


def flat(layout: Layout, limit: int = 1 << 20) -> dict[str, tarfile.TarInfo]:
    return {member.name: member for member in archive(layout, limit)}


def archive(layout: Layout, limit: int = 1 << 20) -> tarfile.TarFile:
    out = io.BytesIO()
    write(layout, flatten(layout, FILES), out, limit)
    out.seek(0)
    return tarfile.open(fileobj=out, mode="r:")


def test_what_apptainer_wants_to_find_is_there(make_layout: MakeLayout) -> None:
    """Places to mount at, its links, and our files, executable where they are scripts."""
    made = flat(make_layout(tar(member("bin", b"a file of that name"))))

    assert made["bin"].size == 19
    assert made["singularity"].linkname == ".singularity.d/runscript"
    assert (made[".singularity.d/runscript"].mode, made[".singularity.d/labels.json"].mode) == (0o755, 0o644)
    assert (made["tmp"].mode, made["proc"].isdir(), made["etc/hosts"].size) == (0o1777, True, 0)


def test_added_files_replace_those_of_the_image(make_layout: MakeLayout) -> None:
    """Apptainer's own files replace the image's; all other files stay."""
    layer = tar(
        member("etc/hosts", b"mine"),
        member("tmp", type=tarfile.SYMTYPE, linkname="/var/tmp"),
        member("singularity", b"a program"),
        member(".singularity.d", type=tarfile.SYMTYPE, linkname="/etc"),
        member(".singularity.d/env/91-environment.sh", b"export A=1\n"),
    )
    made = flat(make_layout(layer))

    assert (made["etc/hosts"].size, made["tmp"].linkname, made["singularity"].size) == (4, "/var/tmp", 9)
    assert made[".singularity.d"].isdir()
    assert {".singularity.d/env/91-environment.sh", ".singularity.d/runscript"} <= set(made)
    assert "etc/runscript" not in made


def test_compressed_and_plain_layers_give_the_same_files(make_layout: MakeLayout) -> None:
    """Layers may be compressed or not."""
    layer = tar(member("a", b"x" * 100_000), member("b", b"y"))
    contents = []
    for each in (layer, gzip.compress(layer)):
        with archive(make_layout(each)) as made:
            found = made.extractfile("a")
            assert found
            contents.append(found.read())

    assert contents == [b"x" * 100_000] * 2


def test_owners_modes_and_times_stay(make_layout: MakeLayout) -> None:
    """Python looks at the times of its sources, so they are not made up."""
    made = flat(make_layout(tar(member("a", mode=0o4751, uid=1000, gid=1001, mtime=1_700_000_000))))["a"]

    assert (made.mode, made.uid, made.gid, made.mtime) == (0o4751, 1000, 1001, 1_700_000_000)


@pytest.mark.parametrize("mtime", [-5, 1.5, 2**40])
def test_times_are_limited_to_the_range_of_squashfs(make_layout: MakeLayout, mtime: float) -> None:
    """squashfs stores times as 32-bit Unix seconds."""
    assert 0 <= flat(make_layout(tar(member("a", mtime=mtime))))["a"].mtime < 2**32


def test_a_time_without_end_is_mended_too(make_layout: MakeLayout) -> None:
    """A header can say so, and no integer is as much."""
    assert flat(make_layout(tar(member("a", pax_headers={"mtime": "inf"}))))["a"].mtime < 2**32


def test_devices_are_left_out_and_pipes_are_not(make_layout: MakeLayout) -> None:
    """Apptainer mounts a /dev of its own; a device of a stranger's is no use but harm."""
    made = flat(
        make_layout(
            tar(
                member("dev/sda", type=tarfile.BLKTYPE, devmajor=8),
                member("dev/mem", type=tarfile.CHRTYPE, devmajor=1),
                member("pipe", type=tarfile.FIFOTYPE),
            )
        )
    )

    assert {"dev/sda", "dev/mem"} & set(made) == set()
    assert made["pipe"].isfifo()


def test_hard_links_follow_their_target(make_layout: MakeLayout) -> None:
    """A tar reader needs the target first."""
    first = tar(member("a", b"content"), member("b", type=tarfile.LNKTYPE, linkname="a"))
    made = flat(make_layout(first, tar(member(".wh.a"))))

    assert made["b"].isfile()
    assert made["b"].size == 7


@pytest.mark.parametrize("name", ["n" * 300, "d/" * 60 + "x", "grün/größe", "bad-\udce9-utf8"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_names_stay_unchanged_byte_by_byte(make_layout: MakeLayout, name: str, form: int) -> None:
    """File names may be any bytes, also invalid UTF-8."""
    assert name in flat(make_layout(tar(member(name, b"x"), form=form)))


def test_more_than_the_limit_is_refused(make_layout: MakeLayout) -> None:
    """Also of a file that is nearly all hole, and so has few bytes in the layer."""
    with pytest.raises(LayerInvalid, match="more than 10 bytes"):
        flat(make_layout(tar(member("a", b"x" * 11))), limit=10)


def test_a_header_as_large_as_memory_is_refused(make_layout: MakeLayout) -> None:
    """A pax header may claim any size; it is not read to find out."""
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30

    with pytest.raises(LayerInvalid, match="too large"):
        flat(make_layout(header.tobuf() + bytes(4096)))


def test_a_truncated_layer_is_refused(make_layout: MakeLayout) -> None:
    """A truncated layer must not become an incomplete file."""
    whole = tar(member("a", b"x" * 5000))

    with pytest.raises(LayerInvalid):
        flat(make_layout(whole[:1024]))


@pytest.mark.parametrize(
    "layer", [b"no tar at all" * 100, gzip.compress(b"x" * 600, mtime=0)[:20], b"\x1f\x8b no gzip"]
)
def test_what_is_no_layer_is_refused(make_layout: MakeLayout, layer: bytes) -> None:
    """Blobs come from registries and may have any content."""
    with pytest.raises(LayerInvalid):
        flat(make_layout(layer))


def test_a_link_in_the_layout_is_not_followed(make_layout: MakeLayout, tmp_path: Path) -> None:
    """A build could have put it there, to have a file of this machine packed."""
    layer = tar(member("a", b"x"))
    layout = make_layout(layer)
    blob = tmp_path / "blobs/sha256" / digest_of(layer).partition(":")[2]
    blob.unlink()
    blob.symlink_to("/etc/passwd")

    with pytest.raises(LayerInvalid, match="has no"):
        flat(layout)


def test_the_same_image_gives_the_same_bytes(make_layout: MakeLayout) -> None:
    """Equal SIF files have equal digests, so a repeated push uploads nothing."""
    layers = (tar(member("b/c", b"1"), member("a", b"2")), tar(member("b/.wh.c"), member("d", b"3")))

    def written() -> bytes:
        out, layout = io.BytesIO(), make_layout(*layers)
        write(layout, flatten(layout, FILES), out, 1 << 20)
        return out.getvalue()

    assert written() == written()
