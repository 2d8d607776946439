"""What a container request asks for, once its text has been read and its rules are kept.

Source: Wave's public API; the rules stand here in the order in which Wave applies them.
"""

import re

import msgspec
from msgspec import Struct

from gateway.domain.repositories import Repositories
from gateway.submit.layers import Data, config_of, layer_of
from gateway.submit.members import naming, text_of
from gateway.submit.naming import build_repository, effective_strategy, tools_of
from gateway.submit.recipes.conda import from_file
from gateway.submit.recipes.direct import NAME, Direct
from gateway.submit.recipes.packages import recipe
from gateway.submit.request import BuildRequest
from swell.api.containers import (
    MAX_LEVEL,
    BuildCompression,
    BuildOptions,
    CompressionMode,
    ContainerRequest,
    ScanMode,
)
from swell.errors import BadRequest, NotSupported, TooLarge
from swell.oci.platform import Platform, parse_platform
from swell.oci.reference import Reference, parse_reference

MAX_FILE = 128 << 10  # bytes of a container file
MAX_CONDA_FILE = 50_000  # characters of base64
LARGE = 4 << 10  # characters; what they can say is read in some milliseconds
MAX_TEXT = 2048  # characters of whatever is a name or an address
MAX_INCLUDES = 10
MAX_OPTIONS, MAX_OPTIONS_SIZE = 100, 32 << 10  # entries, and characters, of buildArgs and of labels

_MULTI = "linux/amd64,linux/arm64"
_SHORT = {
    field.name: field.encode_name
    for field in msgspec.structs.fields(ContainerRequest)
    if field.type == str | None and not field.name.endswith(("_file", "_token"))
}
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,254}")
_IMPLIED = re.compile(r"(TARGET|BUILD)(PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE")
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def read(request: ContainerRequest, places: Repositories, *, legacy: bool = False) -> BuildRequest:
    """Understand *request*, or say what to change in it; *legacy* is the first version of the API.

    Raises:
        BadRequest, TooLarge, DigestInvalid: a member is wrong, or does not go with another; the message names it.
        NotSupported: it asks for what this server does not do.
    """
    _check_sizes(request)
    image = parse_reference(request.container_image) if request.container_image else None
    _check_repositories(request)
    _check_mirror(request, image, legacy=legacy)
    _check_sources(request, legacy=legacy)
    _check_freeze(request, places)
    texts = _texts(request)
    platforms = _platforms(request)
    _check_combinations(request, image, texts)
    data = Data()
    return BuildRequest(
        platforms=platforms,
        image=image,
        containerfile=texts.containerfile,
        environment=texts.environment,
        tools=tools_of(texts.environment) if texts.environment else (),
        template=texts.template,
        direct=texts.direct,
        container_config=config_of(request.container_config, data),
        context=layer_of("buildContext", request.build_context, data) if request.build_context else None,
        includes=tuple(_include(name) for name in request.container_includes or ()),
        repository=_repository(request, places),
        cache_repository=_cache_repository(request, places),
        strategy=effective_strategy(request.name_strategy, _chosen(request, places), places.public),
        compression=request.build_compression,
        options=_options(request, image, texts),
        sif=request.format == "sif",
        freeze=request.freeze,
        dry_run=request.dry_run,
        blobs=data.blobs,
    )


def _include(name: str) -> Reference:
    with naming("containerIncludes"):
        return parse_reference(name)


def _check_sizes(request: ContainerRequest) -> None:
    """See that no text is longer than one of its kind can be: requests are kept for months."""
    if len(request.conda_file or "") > MAX_CONDA_FILE:
        raise TooLarge(f"condaFile has more than {MAX_CONDA_FILE} characters")
    for name, member in _SHORT.items():
        if len(getattr(request, name) or "") > MAX_TEXT:
            raise TooLarge(f"{member} has more than {MAX_TEXT} characters")


def carries_data(request: ContainerRequest) -> bool:
    """Whether so much came along that it takes a while to look through it: a second for the largest of environments."""
    config, packages = request.container_config, request.packages
    layers = (*((config.layers or ()) if config else ()), request.build_context)
    texts = [layer.location for layer in layers if layer]
    texts += [request.container_file or "", request.conda_file or ""]
    if packages:
        texts += [packages.environment or "", *(packages.entries or ())]
    return sum(map(len, texts)) > LARGE


class _Texts(Struct, frozen=True):
    """What is to be built, as text."""

    containerfile: str | None = None
    environment: str | None = None
    template: str | None = None
    direct: Direct | None = None


def _check_repositories(request: ContainerRequest) -> None:
    if request.mirror:
        return
    named = {"buildRepository": request.build_repository, "cacheRepository": request.cache_repository}
    for member, repository in named.items():
        if repository:
            _check_repository(member, repository)


def _check_repository(member: str, repository: str) -> None:
    if "://" in repository:
        raise BadRequest(f"{member} must not begin with a scheme such as {repository.partition('://')[0]}://")
    if "/" not in repository:
        raise BadRequest(f"{member} {repository!r} needs a path after the registry")
    if ":" in repository.rpartition("/")[2]:
        raise BadRequest(f"{member} {repository!r} must not have a tag")
    with naming(member):
        parse_reference(repository)


def _check_mirror(request: ContainerRequest, image: Reference | None, *, legacy: bool) -> None:
    if not request.mirror:
        return
    if legacy:
        raise BadRequest("mirror needs /v1alpha2/container")
    config = request.container_config
    forbidden = {
        "freeze": request.freeze,
        "containerFile": request.container_file,
        "containerIncludes": request.container_includes,
        "containerConfig": config and not config.is_empty,
    }
    if image is None:
        raise BadRequest("mirror needs a containerImage")
    if taken := [name for name, value in forbidden.items() if value]:
        raise BadRequest(f"mirror does not go with {', '.join(taken)}")
    if not request.build_repository:
        raise BadRequest("mirror needs a buildRepository to copy to")
    raise NotSupported("this server does not mirror images yet")


def _check_sources(request: ContainerRequest, *, legacy: bool) -> None:
    if request.container_file and request.packages:
        raise BadRequest("containerFile and packages exclude each other")
    if legacy:
        if request.packages:
            raise BadRequest("packages needs /v1alpha2/container")
        if request.name_strategy:
            raise BadRequest("nameStrategy needs /v1alpha2/container")
    elif request.conda_file:
        raise BadRequest("condaFile is for /container-token only; use packages.environment")


def _check_freeze(request: ContainerRequest, places: Repositories) -> None:
    if not request.freeze or places.is_custom(request.build_repository):
        return
    if request.packages and not places.public:
        raise BadRequest("freeze of packages needs a buildRepository of yours [3]")
    if request.container_file or request.container_image:
        raise BadRequest(f"freeze needs a buildRepository of yours [{1 if request.container_file else 2}]")


def _texts(request: ContainerRequest) -> _Texts:
    if request.packages:
        made = recipe(request.packages, request.build_template, request.format == "sif")
        return _Texts(made.containerfile, made.environment, made.template, made.direct)
    if not request.container_file:
        return _Texts()
    containerfile = _text("containerFile", request.container_file, MAX_FILE)
    environment = _text("condaFile", request.conda_file, MAX_CONDA_FILE) if request.conda_file else None
    if environment:
        from_file(environment, (), member="condaFile")  # refuses what cannot be read, or not in reasonable time
    return _Texts(containerfile, environment, request.build_template)


def _platforms(request: ContainerRequest) -> tuple[Platform, ...]:
    """The platforms asked for, always in the same order."""
    names = (request.container_platform or "linux/amd64").split(",")
    platforms = tuple(sorted((parse_platform(name.strip()) for name in names), key=str))
    if not all(platform.os == "linux" for platform in platforms):
        raise BadRequest(f"containerPlatform {request.container_platform!r}: images are made for linux only")
    if len(platforms) == 1:
        return platforms
    if ",".join(map(str, platforms)) != _MULTI:
        raise BadRequest(f"containerPlatform {request.container_platform!r}: several platforms can be {_MULTI} only")
    if request.format == "sif" or not (request.container_file or request.packages):
        raise BadRequest("several platforms need a containerFile or packages, and no format sif")
    if request.container_includes and not request.freeze:
        raise BadRequest("containerIncludes of several platforms need freeze")
    return platforms


def _check_combinations(request: ContainerRequest, image: Reference | None, texts: _Texts) -> None:
    if bool(image) == bool(texts.containerfile):
        raise BadRequest("give either containerImage or containerFile or packages, exactly one of them")
    config = request.container_config
    adds = request.container_includes or (config and not config.is_empty)
    if image and image.digest and adds and not request.freeze:
        raise BadRequest("containerImage is named by its digest, so nothing can be added to it but with freeze")
    if request.build_context and not texts.containerfile:
        raise BadRequest("buildContext belongs to a containerFile; leave it out for a containerImage")
    if request.build_context and texts.direct:
        raise BadRequest(f"buildContext belongs to a container, and {NAME} needs none; leave it out")
    if request.format == "sif" and not request.freeze:
        raise BadRequest("format sif needs freeze")
    if request.scan_mode not in {None, ScanMode.NONE}:
        raise NotSupported("scanMode: this server does not scan images")
    _check_compression(request.build_compression)
    if len(request.container_includes or ()) > MAX_INCLUDES:
        raise BadRequest(f"containerIncludes names more than {MAX_INCLUDES} images")


def _check_compression(compression: BuildCompression | None) -> None:
    mode = (compression and compression.mode) or CompressionMode.GZIP
    if compression and compression.level is not None and not 0 <= compression.level <= MAX_LEVEL[mode]:
        raise BadRequest(f"buildCompression.level of {mode} can be 0 to {MAX_LEVEL[mode]}, not {compression.level}")


def _options(request: ContainerRequest, image: Reference | None, texts: _Texts) -> BuildOptions | None:
    """What a container file is built with beside its text and its context."""
    options = BuildOptions(
        build_args=request.build_args or {}, target=request.target or "", labels=request.labels or {}
    )
    if options.is_empty:
        return None
    if image or texts.direct or not request.container_file or request.format == "sif":
        raise BadRequest("buildArgs, target and labels belong to a containerFile that becomes an image; leave them out")
    for member, values, name in (("buildArgs", options.build_args, _ARGUMENT), ("labels", options.labels, _LABEL)):
        if len(values) > MAX_OPTIONS or sum(len(key) + len(value) for key, value in values.items()) > MAX_OPTIONS_SIZE:
            raise TooLarge(f"{member} has more than {MAX_OPTIONS} entries or {MAX_OPTIONS_SIZE} characters")
        for key, value in values.items():
            if not name.fullmatch(key) or "\0" in value:
                raise BadRequest(
                    f"{member} has the entry {key[:100]!r}, which is not a name, or a value that is not text"
                )
    if implied := next((key for key in options.build_args if _IMPLIED.fullmatch(key)), None):
        raise BadRequest(f"buildArgs has the entry {implied!r}, which follows from containerPlatform and target")
    if options.target and not _STAGE.fullmatch(options.target):
        raise BadRequest(f"target {options.target[:100]!r} is not the name or number of a stage")
    return options


def _chosen(request: ContainerRequest, places: Repositories) -> str:
    return request.build_repository or (places.public if request.freeze and places.public else places.build)


def _repository(request: ContainerRequest, places: Repositories) -> str:
    return build_repository(
        _chosen(request, places),
        strategy=request.name_strategy,
        public=places.public,
        reserved=places.reserved if request.build_repository else frozenset(),
    )


def _cache_repository(request: ContainerRequest, places: Repositories) -> str | None:
    """Ours for what everybody may be given, theirs for what they keep themselves; never one for the other.

    An image in our repository is given to whoever asks for the same recipe, so it is not made of what a client put into
    a cache of theirs.
    """
    if places.is_custom(request.build_repository):
        return request.cache_repository if places.is_custom(request.cache_repository) else None
    return places.cache


def _text(name: str, encoded: str, limit: int) -> str:
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    if size > limit:
        raise TooLarge(f"{name} has {size} bytes; at most {limit} are taken")
    return text_of(name, encoded)
