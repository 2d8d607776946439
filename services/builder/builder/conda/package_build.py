"""One build of the conda-direct engine: fetch packages, assign paths, write and push layers, push the image."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from msgspec import Struct

from builder.conda.archive import Contents, contents, describe
from builder.conda.base_image import BaseImage
from builder.conda.layer_store import MadeLayers, key_of
from builder.conda.layers import Layer, writing
from builder.conda.model.activation import HOOK, SCRIPTS, VARIABLES, environment, hook, read_variables
from builder.conda.model.channels import subdir_of
from builder.conda.model.image import SCRATCH, Added, base_layers, empty_image, on_top, variables_of
from builder.conda.model.layout import directory_symlinks, group, settle
from builder.conda.model.lock import LockedPackage, read_lock
from builder.conda.model.package import Link, Package, environment_python
from builder.conda.model.prefix import with_prefix
from builder.conda.packages import Packages
from builder.conda.scratch import explained, together
from builder.domain.failure import BuildFailure
from builder.domain.lock_cutter import END, START
from builder.engine import Recipe, WriteLine
from builder.settings import CondaSettings
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.package_layers import PackageLayers
from swell.archives.layers import LayerMeter
from swell.disk import in_thread
from swell.errors import SwellError
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest, hex_of, parse_digest
from swell.oci.image import Image
from swell.oci.mutate import MAX_LAYERS
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference
from swell.registry.push import RegistryPush
from swell.store.records import Reason
from swell_sandbox.lines import pieces

_CONCURRENT = 2  # layers that are written, and base layers that are copied
_HISTORY = "conda-meta/history"  # conda recognizes an environment by this file
_LOCK, _PIXI_LOCK = "conda-meta/environment.lock", "conda-meta/pixi.lock"
_LISTED = 12  # names in one log line


_Made = tuple[Layer, Mapping[str, str]]


class Tools(Struct, frozen=True, kw_only=True):
    """The parts that all builds share."""

    packages: Packages
    made: MadeLayers
    base: BaseImage
    push: RegistryPush
    settings: CondaSettings


class Archive(Struct, frozen=True, kw_only=True):
    """A fetched package; `size` is the size of its archive in bytes."""

    source: LockedPackage
    path: Path
    size: int
    package: Package


class _Plan(Struct, frozen=True, kw_only=True):
    """The paths of each package, by package name; `scripts` is true if a package has activation scripts."""

    archives: Mapping[str, Archive]
    files: Mapping[str, Sequence[Link]]
    scripts: bool


class _Written(Struct, frozen=True):
    """A layer in the registry, and the environment variables of its packages."""

    added: Added
    variables: Mapping[str, str]


class PackageBuild:
    def __init__(
        self, tools: Tools, recipe: Recipe, requested: PackageLayers, folder: Path, write_line: WriteLine
    ) -> None:
        """Only this build uses *folder*."""
        self._tools = tools
        self._requested = requested
        self._files = recipe.files
        self._folder = folder
        self._write_line = write_line
        self._fetched = 0
        self.licenses: dict[str, str] = {}
        """The licence of each package by its URL, as its metadata has it; filled by `run`."""
        self._limit = tools.settings.conda_package_limit
        self._platform = parse_platform(recipe.platform)
        self._target = parse_reference(recipe.target_image)
        self._making, self._copying = asyncio.Semaphore(_CONCURRENT), asyncio.Semaphore(_CONCURRENT)

    async def run(self) -> Digest:
        """Raises `BuildFailure`."""
        try:
            subdir = subdir_of(self._platform)
            locked = read_lock(self._requested.lock, subdir)
        except SwellError as error:
            raise BuildFailure(Reason.RECIPE, f"The lock file cannot be used: {error}.") from error
        await self._say(f"{len(locked)} packages for {subdir} become layers on {self._requested.base_image}")
        with explained():
            base = await self._base()
            archives = await together(self._archive(package) for package in locked)
            self.licenses = {each.source.url: text for each in archives if (text := each.package.license)}
            plan = await self._plan(archives)
            written = await self._layers(plan, base)
            frozen = [await self._frozen(layer) for layer in (self._config.layers or ())]
        for line in (START, *self._requested.lock.encode().splitlines(), END):
            await self._say(line)
        return await self._push(base, plan, written, frozen)

    @property
    def _config(self) -> ContainerConfig:
        return self._requested.config or ContainerConfig()

    async def _say(self, line: str | bytes) -> None:
        for piece in pieces(line if isinstance(line, bytes) else line.encode()):
            await self._write_line(piece)

    async def _base(self) -> Image:
        if self._requested.base_image == SCRATCH:
            return empty_image(self._platform)
        return await self._tools.base.fetch(parse_reference(self._requested.base_image), self._platform)

    async def _archive(self, source: LockedPackage) -> Archive:
        path = self._folder / source.file
        fetched = await self._tools.packages.fetch(source, path)
        size = path.stat().st_size
        self._fetched += size
        if self._fetched > self._tools.settings.conda_image_limit:
            message = f"The packages have more than {self._tools.settings.conda_image_limit} bytes together."
            raise BuildFailure(Reason.PACKAGE, message)
        if fetched:
            await self._say(f"fetched {source.file} ({_megabytes(size)}) from {source.channel}")
        with explained(source.file):
            package = await in_thread(describe, path, limit=self._limit)
        return Archive(source=source, path=path, size=size, package=package)

    async def _plan(self, found: Sequence[Archive]) -> _Plan:
        """Assign the paths to the packages; nothing has been written or pushed yet."""
        archives = {archive.package.name: archive for archive in found}
        if len(archives) < len(found):
            raise BuildFailure(Reason.RECIPE, "The lock file has two packages of one name.")
        if scripted := sorted(name for name, archive in archives.items() if archive.package.runs_at_install):
            message = (
                f"{', '.join(scripted)}: these packages run a script at installation, and this engine runs no scripts."
                " Use the template conda/micromamba:v2 for them."
            )
            raise BuildFailure(Reason.PACKAGE, message)
        python = environment_python(archive.package for archive in found)
        files: dict[str, Sequence[Link]] = {"": _ours(found)}
        for name, archive in archives.items():
            with explained(archive.source.file):
                files[name] = archive.package.links(python)
        leads_to = {
            path: await self._leads_to(path, archives[name]) for path, name in directory_symlinks(files).items()
        }
        layout = settle(files, leads_to)
        if layout.contested:
            await self._say(f"in several packages, using the first: {_some(layout.contested)}")
        scripts = any(_is(link, SCRIPTS, ".sh") for links in layout.files.values() for link in links)
        return _Plan(archives=archives, files=layout.files, scripts=scripts)

    async def _leads_to(self, path: str, archive: Archive) -> str:
        def look() -> str:
            link = next(link for link in archive.package.paths if link.path == path)
            with contents(archive.path, self._folder / f"{archive.source.file}.tar", limit=self._limit) as found:
                return found.find(link.path).linkname

        with explained(archive.source.file):
            return await in_thread(look)

    async def _layers(self, plan: _Plan, base: Image) -> list[_Written]:
        """Push all layers; return those of the packages, lowest first."""
        below = base_layers(base)
        settings = self._tools.settings
        most = min(settings.conda_own_layers + 1, MAX_LAYERS - len(below) - len(self._config.layers or ()))
        if most < 1:
            raise BuildFailure(Reason.RECIPE, f"The image would have more than {MAX_LAYERS} layers.")
        sizes = {name: archive.size for name, archive in plan.archives.items()}
        groups = group(sizes, worth=settings.conda_own_layer_size, most=most)
        making = together(self._layer(number, groups, plan) for number in range(len(groups)))
        written, _ = await together([making, self._copies(below)])
        return written

    async def _copies(self, layers: Sequence[Descriptor]) -> list[_Written]:
        await together(self._copy(layer) for layer in {layer.digest: layer for layer in layers}.values())
        return []

    async def _copy(self, layer: Descriptor) -> None:
        async with self._copying:
            source, path = parse_reference(self._requested.base_image), self._folder / layer.digest
            await self._tools.base.copy(layer, source, self._target, path)

    async def _layer(self, number: int, groups: Sequence[Sequence[str]], plan: _Plan) -> _Written:
        """Write and push the layer of group *number*; the last layer also has the environment's own files."""
        names, is_last = groups[number], number == len(groups) - 1
        path = self._folder / f"layer-{number}"
        async with self._making:
            make = partial(self._write, path, names, plan) if is_last else partial(self._own, path, names[0], plan)
            layer, variables = await in_thread(make)
            await self._tools.push.blob(self._target, layer.digest, path)
            path.unlink()
        says = _some([plan.archives[name].package.record for name in names]) or "the environment"
        await self._say(f"layer {number + 1} of {len(groups)}: {says} ({_megabytes(layer.size)})")
        return _Written(Added(layer.digest, layer.diff_id, layer.size, says), variables)

    def _own(self, path: Path, name: str, plan: _Plan) -> _Made:
        """Return the layer of one package, from the cache if possible."""
        key = key_of(plan.archives[name].source, plan.files[name])
        if made := self._tools.made.take(key, path):
            return made
        layer, variables = self._write(path, [name], plan, is_last=False)
        self._tools.made.put(key, layer, variables)
        return layer, variables

    def _write(self, path: Path, names: Sequence[str], plan: _Plan, *, is_last: bool = True) -> _Made:
        from builder.conda.lock_writer import pixi_lock  # noqa: PLC0415 (rattler: 9 MB that an idle builder lacks)

        variables: dict[str, str] = {}
        with writing(path, memory=self._tools.settings.build_memory // _CONCURRENT) as writer:
            for name in names:
                archive, links = plan.archives[name], plan.files[name]
                scratch = path.with_name(f"{path.name}.tar")
                with explained(archive.source.file), contents(archive.path, scratch, limit=self._limit) as found:
                    writer.package(archive.package, archive.source, links, found)
                    variables |= _variables(links, found)
            if is_last:
                writer.file(_HISTORY, b"")
                writer.file(_LOCK, self._requested.lock.encode())
                writer.file(_PIXI_LOCK, pixi_lock(plan.archives.values(), subdir_of(self._platform), self._folder))
                if plan.scripts:
                    writer.file(HOOK, hook())
        assert writer.layer  # noqa: S101  (its block has ended)
        return writer.layer, variables

    async def _frozen(self, layer: ContainerLayer) -> Added:
        """Push a layer that came with the request."""
        digest = parse_digest(layer.gzip_digest or "")
        path = self._files[f"layer-{hex_of(digest)}.tar.gz"]
        try:
            measured = await in_thread(_measured, path, layer, self._limit)
        except SwellError as error:
            raise BuildFailure(Reason.CONTEXT, f"A layer cannot be added: {error}.") from error
        await self._tools.push.blob(self._target, digest, path)
        return Added(digest, parse_digest(measured.tar_digest or ""), measured.gzip_size or 0, f"layer {digest}")

    async def _push(self, base: Image, plan: _Plan, written: Sequence[_Written], frozen: Sequence[Added]) -> Digest:
        variables: dict[str, str] = {}
        for name, value in sorted(item for each in written for item in each.variables.items()):
            variables.setdefault(name, value)
        variables_of_image = environment(variables_of(base), variables, scripts=plan.scripts)
        image = on_top(base, [*(each.added for each in written), *frozen], variables_of_image, self._requested.config)
        await self._tools.push.blob(self._target, image.config.digest, image.config.content)
        digest = await self._tools.push.document(self._target, image.manifest)
        await self._say(f"pushed {self._target} as {digest}")
        return digest


def _ours(archives: Sequence[Archive]) -> list[Link]:
    """Return the paths that no package may use: this engine's own files and the package records."""
    records = [f"conda-meta/{archive.package.record}.json" for archive in archives]
    return [Link(target) for target in (_HISTORY, _LOCK, _PIXI_LOCK, HOOK, *records)]


def _measured(path: Path, layer: ContainerLayer, limit: int) -> ContainerLayer:
    meter = LayerMeter(limit)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            meter.update(piece)
    return meter.finish(layer)


def _variables(links: Sequence[Link], found: Contents) -> dict[str, str]:
    variables: dict[str, str] = {}
    for link in links:
        if link.source and _is(link, VARIABLES, ".json"):
            content = b"".join(found.pieces(found.find(link.source.path)))
            if link.source.prefix_placeholder:
                content = with_prefix(content, link.source.prefix_placeholder, "text")
            variables |= read_variables(content)
    return variables


def _is(link: Link, folder: str, ending: str) -> bool:
    return link.target.startswith(folder) and link.target.endswith(ending)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
