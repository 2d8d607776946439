"""The files of an image: its merged layers, as names in memory. This module reads and writes no file.

Source: OCI image-spec, "Applying Changesets" and "Whiteouts",
https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#applying-changesets
"""

from collections.abc import Iterator
from typing import NamedTuple

MAX_ENTRIES = 2_000_000
MAX_PATH = 4096

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."


class LayerInvalid(Exception):
    """A layer has an invalid entry."""


class Attributes(NamedTuple):
    """The attributes of a directory; `mtime` is in Unix seconds."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0


class Origin(NamedTuple):
    """The position of a file's bytes: the layer's number and the member's number in it."""

    layer: int
    member: int


class _Node:
    """A directory entry. Directories have `children` and `attributes`; other entries have an `origin`."""

    __slots__ = ("attributes", "children", "layer", "origin")

    def __init__(self, layer: int, origin: Origin | None = None) -> None:
        self.layer = layer
        self.origin = origin
        self.attributes = Attributes()
        self.children: dict[str, _Node] | None = {} if origin is None else None


class Rootfs:
    """The merged file system. Add layers from the lowest; a layer's whiteouts remove entries of lower layers."""

    def __init__(self) -> None:
        self._root = _Node(0)
        self._layer = -1
        self._entries = 0

    def begin_layer(self) -> int:
        """Start the next layer, to which the following entries belong; return its number."""
        self._layer += 1
        return self._layer

    def directory(self, name: str, attributes: Attributes) -> None:
        """Add the directory *name*; the entries of lower layers in it stay."""
        parts = self._parts(name)
        node = self._at(parts) if parts else self._root
        node.attributes, node.layer = attributes, self._layer

    def file(self, name: str, member: int) -> None:
        """Add *member* as *name*: a file, a symlink, a pipe, or a whiteout."""
        *parents, last = self._parts(name) or [""]
        if last.startswith(_WHITEOUT):
            self._white_out(parents, last)
        elif last:
            self._put(parents, last, _Node(self._layer, Origin(self._layer, member)))

    def hard_link(self, name: str, target: str) -> None:
        """Add *name* as a hard link to *target*.

        Raises:
            LayerInvalid: there is no such file.
        """
        found = self._find(self._parts(target))
        *parents, last = self._parts(name) or [""]
        if found is None or found.origin is None or not last:
            raise LayerInvalid(f"{name[:200]!r} is a hard link to {target[:200]!r}, which is not a file")
        self._put(parents, last, _Node(self._layer, found.origin))

    def has(self, name: str) -> bool:
        return self._find(self._parts(name)) is not None

    def is_directory(self, name: str) -> bool:
        found = self._find(self._parts(name))
        return found is not None and found.children is not None

    def directories(self) -> Iterator[tuple[str, Attributes]]:
        """Yield every directory, parents before children, in a fixed order; the root has an empty name."""
        for name, node in self._walk():
            if node.children is not None:
                yield name, node.attributes

    def names(self) -> dict[Origin, list[str]]:
        """Return the names of each remaining file, in order; several names are hard links."""
        names: dict[Origin, list[str]] = {}
        for name, node in self._walk():
            if node.origin is not None:
                names.setdefault(node.origin, []).append(name)
        return names

    def _walk(self) -> Iterator[tuple[str, _Node]]:
        waiting = [("", self._root)]
        while waiting:
            name, node = waiting.pop()
            yield name, node
            inner = sorted((node.children or {}).items(), reverse=True)
            waiting += [(f"{name}/{child}" if name else child, found) for child, found in inner]

    def _put(self, parents: list[str], last: str, node: _Node) -> None:
        children = self._at(parents).children
        assert children is not None  # noqa: S101  (`_at` makes directories)
        children[last] = node

    def _at(self, parts: list[str]) -> _Node:
        """Return the directory at *parts*; replace other entries on the way: symlinks are never followed."""
        node = self._root
        for part in parts:
            assert node.children is not None  # noqa: S101  (directories only)
            child = node.children.get(part)
            if child is None or child.children is None:
                child = node.children[part] = _Node(self._layer)
            node = child
        return node

    def _find(self, parts: list[str]) -> _Node | None:
        node: _Node | None = self._root
        for part in parts:
            node = (node.children or {}).get(part) if node else None
        return node

    def _white_out(self, parents: list[str], mark: str) -> None:
        parent = self._find(parents)
        if parent is None or parent.children is None:
            return
        if mark == _OPAQUE:
            for name in list(parent.children):
                self._remove_lower(parent.children, name)
        elif not mark.startswith(_AUFS):
            self._remove_lower(parent.children, mark.removeprefix(_WHITEOUT))

    def _remove_lower(self, children: "dict[str, _Node]", name: str) -> None:
        """Remove the entries of lower layers at *name*; entries of this layer stay, independent of their order."""
        waiting = [(children, name)]
        emptied = []
        while waiting:
            within, each = waiting.pop()
            if (node := within.get(each)) is None:
                continue
            if node.layer < self._layer and not node.children:
                del within[each]
            elif node.children:
                emptied.append((within, each, node))
                waiting += [(node.children, child) for child in node.children]
        for within, each, node in reversed(emptied):
            if node.layer < self._layer and not node.children:
                del within[each]

    def _parts(self, name: str) -> list[str]:
        """Split *name* into its parts, from the image's root.

        Raises:
            LayerInvalid: it leads outside, or there are too many of them.
        """
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise LayerInvalid(f"the image has more than {MAX_ENTRIES} entries")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if len(name) > MAX_PATH or ".." in parts:
            raise LayerInvalid(f"{name[:200]!r} is not a valid file name")
        return parts
