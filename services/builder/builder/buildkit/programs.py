"""Where BuildKit's programs are: on PATH, or where `make engine` puts what it compiles (deploy/engine)."""

import hashlib
import os
import shutil
from pathlib import Path

from msgspec import Struct

_MODULE = Path(__file__).parents[4] / "deploy/engine"


class Programs(Struct, frozen=True):
    """`version` is what buildkitd says of itself; empty if it has not been asked."""

    buildkitd: Path
    buildctl: Path


def find() -> Programs | None:
    """Return the programs; a compiled release of this tree comes before those on PATH."""
    for folder in (compiled(), None):
        found = [shutil.which(name, path=str(folder) if folder else None) for name in ("buildkitd", "buildctl")]
        if all(found):
            return Programs(*(Path(str(path)) for path in found))
    return None


def compiled() -> Path | None:
    """The folder with the release that `go.mod` pins; it need not exist. None outside of a source tree."""
    try:
        pinned = b"".join((_MODULE / name).read_bytes() for name in ("go.mod", "go.sum"))
    except OSError:
        return None
    cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME') or '/root'}/.cache"
    return Path(cache) / "swell/engine" / hashlib.sha256(pinned).hexdigest()[:16]
