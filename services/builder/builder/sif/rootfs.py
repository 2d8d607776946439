"""The files of an image: its layers put upon each other, as names in memory. Nothing here touches a file.

Source: OCI image-spec, layer.md, "Applying Changesets" and "Whiteouts".
"""

from collections.abc import Iterator
from typing import NamedTuple

MOST_ENTRIES = 2_000_000
LONGEST_PATH = 4096

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS = ".wh..wh."


class LayerInvalid(Exception):
    """A layer has an entry that no image may have."""


class Attributes(NamedTuple):
    """Of a directory; `mtime` is in seconds."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0


class Origin(NamedTuple):
    """Where the bytes of a file are: in which layer, as which of its members."""

    layer: int
    member: int


class _Node:
    """A name in a directory. Directories have `children` and `attributes`, all others an `origin`."""

    __slots__ = ("attributes", "children", "layer", "origin")

    def __init__(self, layer: int, origin: Origin | None = None) -> None:
        self.layer = layer
        self.origin = origin
        self.attributes = Attributes()
        self.children: dict[str, _Node] | None = {} if origin is None else None


class Rootfs:
    """Layers are begun from the lowest; what a layer hides or takes away is gone when the next one begins."""

    def __init__(self) -> None:
        self._root = _Node(0)
        self._layer = -1
        self._entries = 0

    def begin_layer(self) -> int:
        """The entries that are told from now on are of the next layer, whose number this answers."""
        self._layer += 1
        return self._layer

    def directory(self, name: str, attributes: Attributes) -> None:
        """The layer has the directory *name*: what is in one of lower layers stays."""
        parts = self._parts(name)
        node = self._at(parts) if parts else self._root
        node.attributes, node.layer = attributes, self._layer

    def file(self, name: str, member: int) -> None:
        """The layer's *member* is *name*: a file, a symbolic link or a pipe; or the sign that something is gone."""
        *parents, last = self._parts(name) or [""]
        if last.startswith(_WHITEOUT):
            self._white_out(parents, last)
        elif last:
            self._put(parents, last, _Node(self._layer, Origin(self._layer, member)))

    def hard_link(self, name: str, target: str) -> None:
        """*name* is another name of *target*.

        Raises:
            LayerInvalid: there is no such file.
        """
        found = self._find(self._parts(target))
        *parents, last = self._parts(name) or [""]
        if found is None or found.origin is None or not last:
            raise LayerInvalid(f"{name[:200]!r} is a hard link to {target[:200]!r}, which is no file there")
        self._put(parents, last, _Node(self._layer, found.origin))

    def has(self, name: str) -> bool:
        return self._find(self._parts(name)) is not None

    def is_directory(self, name: str) -> bool:
        found = self._find(self._parts(name))
        return found is not None and found.children is not None

    def directories(self) -> Iterator[tuple[str, Attributes]]:
        """Every directory, the root as an empty name, parents first; always in the same order."""
        for name, node in self._walk():
            if node.children is not None:
                yield name, node.attributes

    def names(self) -> dict[Origin, list[str]]:
        """The names of each file that is still there, in their order: more than one are hard links."""
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
        """The directory there; what is in its way, be it a link, makes place: no name leads through a link."""
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
                self._take_away(parent.children, name)
        elif not mark.startswith(_AUFS):
            self._take_away(parent.children, mark.removeprefix(_WHITEOUT))

    def _take_away(self, children: "dict[str, _Node]", name: str) -> None:
        """Remove what lower layers have as *name*; what this layer has put there stays, in whatever order it came."""
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
        """The names that lead to *name* from the image's root.

        Raises:
            LayerInvalid: it leads outside, or there are too many of them.
        """
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise LayerInvalid(f"the image has more than {MOST_ENTRIES} entries")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if len(name) > LONGEST_PATH or ".." in parts:
            raise LayerInvalid(f"{name[:200]!r} is no name that a file can have")
        return parts
