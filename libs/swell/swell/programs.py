"""Programs that `make` compiles from Go modules of this tree, and that services start."""

import hashlib
import os
import shutil
from pathlib import Path

_DEPLOY = Path(__file__).parents[3] / "deploy"


def find(module: str, *names: str) -> tuple[Path, ...] | None:
    """Return the paths of the programs *names*, compiled from `deploy/<module>` or from PATH; None if one is missing.

    A compiled release of this tree comes before the programs on PATH. All are from the same place.
    """
    for folder in (compiled(module), None):
        paths = [shutil.which(name, path=str(folder) if folder else None) for name in names]
        if all(paths):
            return tuple(Path(str(path)) for path in paths)
    return None


def compiled(module: str) -> Path | None:
    """The folder with the release that `deploy/<module>` pins; it need not exist. None outside of a source tree."""
    try:
        pinned = b"".join((_DEPLOY / module / name).read_bytes() for name in ("go.mod", "go.sum"))
    except OSError:
        return None
    cache = os.environ.get("XDG_CACHE_HOME") or f"{os.environ.get('HOME') or '/root'}/.cache"
    return Path(cache) / "swell" / module / hashlib.sha256(pinned).hexdigest()[:16]
