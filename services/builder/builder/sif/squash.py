"""A separate program, which runs in a build's sandbox: it converts an OCI layout to a SIF file.

`python -m builder.sif.squash ORDER`, where ORDER is a file with an `Order`. What went wrong is its last line.
"""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path

import msgspec
from msgspec import Struct

from builder.sif.failures import INVALID
from builder.sif.flatten import LATEST, Flattened, flatten, write
from builder.sif.format import Kind, Part, head_of
from builder.sif.layout import Layout, open_plain
from builder.sif.rootfs import LayerInvalid
from builder.sif.singularity import RunFields, files_of
from swell.errors import SwellError
from swell.jobs.messages import Definition
from swell.oci.digest import Digest, digest_of

BROKEN = 70  # EX_SOFTWARE

_MOST_MEMORY = 1 << 30  # bytes; more does not make packing faster


class Order(Struct, frozen=True, kw_only=True):
    """A request to convert the image in *layout* to the file *target*; *folder* is for temporary files. All are paths.

    The image's files may have *limit* bytes together, and packing them may use *memory* bytes.
    """

    layout: str
    folder: str
    target: str
    definition: Definition
    limit: int
    memory: int


class _ConfigFile(Struct):
    architecture: str = ""
    created: str = ""
    config: RunFields | None = None


def main(path: Path) -> int:
    order = msgspec.json.decode(path.read_bytes(), type=Order)
    try:
        make(order)
    except (LayerInvalid, SwellError) as error:
        print(f"Error: {error}")  # noqa: T201  (this program's output)
        return INVALID
    except MemoryError:
        print("Error: out of memory")  # noqa: T201
        return BROKEN
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"Error: {error.strerror if isinstance(error, OSError) else error}")  # noqa: T201
        return BROKEN
    return 0


def make(order: Order) -> None:
    """Convert the image as *order* says.

    Raises:
        LayerInvalid, SwellError: no SIF file can be made of that image.
        OSError, CalledProcessError: the disk is full, or mksquashfs does not work.
    """
    layout = Layout(Path(order.layout))
    config = layout.config
    fields = config.read_as(_ConfigFile)
    files = files_of(fields.config or RunFields(), order.definition, fields.architecture)
    squashed = Path(order.folder, "squashfs")
    _squash(layout, flatten(layout, files), squashed, order, _seconds(fields.created))
    with open_plain(squashed) as image:
        small = (
            (Kind.DEFINITION, "Singularity", order.definition.text.encode()),
            (Kind.JSON, "oci-config.json", config.content),
        )
        parts = [Part(kind, name, len(content), digest_of(content)) for kind, name, content in small]
        digest = Digest(f"sha256:{file_digest(image, 'sha256').hexdigest()}")
        parts.append(Part(Kind.PARTITION, "squashfs", squashed.stat().st_size, digest))
        head = head_of(parts, fields.architecture)
        image.seek(0)
        with Path(order.target).open("xb") as made:
            made.write(head.content)
            for offset, (_, _, content) in zip(head.offsets, small, strict=False):
                made.seek(offset)
                made.write(content)
            made.seek(head.offsets[-1])
            shutil.copyfileobj(image, made, 1 << 20)
    squashed.unlink()


def _squash(layout: Layout, flattened: Flattened, target: Path, order: Order, created: int) -> None:
    """Pack the image's files with mksquashfs, which gets names and bytes and reads no file of this machine."""
    root = next(attributes for _, attributes in flattened.rootfs.directories())
    memory = f"{min(order.memory // 4, _MOST_MEMORY) >> 20}M"
    options = ("-comp", "gzip", "-mem", memory, "-no-xattrs", "-root-mode", f"{root.mode:o}", "-noappend")
    command = ("mksquashfs", "-", target.name, "-tar", *options, "-quiet", "-no-progress")
    # Without these times, mksquashfs uses the current time, and the file would differ each time.
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(created)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, cwd=target.parent)  # noqa: S603
    assert process.stdin  # noqa: S101  (a pipe)
    try:
        with (
            suppress(BrokenPipeError),
            process.stdin as pipe,
        ):  # mksquashfs prints the reason, and its exit status shows the failure
            write(layout, flattened, pipe, order.limit)
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "mksquashfs")


def _seconds(moment: str) -> int:
    """Convert an RFC 3339 time to Unix seconds, limited to the range of squashfs."""
    try:
        time = datetime.fromisoformat(moment[:19]).replace(tzinfo=UTC)
    except ValueError:
        return LATEST
    return min(max(int(time.timestamp()), 0), LATEST)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
