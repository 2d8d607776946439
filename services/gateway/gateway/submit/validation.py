"""Validate a container request and decode its texts, once: the rules are in the order in which Wave applies them.

Source: Wave's public API, "Submit a container request", https://docs.seqera.io/wave/api
"""

import re
from collections.abc import Mapping
from itertools import chain

import msgspec
from msgspec import Struct

from gateway.domain.identity import SECRET_NAME
from gateway.domain.repositories import Repositories
from gateway.submit.layers import InlineLayers, validate_config, validate_layer
from gateway.submit.members import decode_text, member_errors
from gateway.submit.naming import build_repository, effective_strategy, tools_of
from gateway.submit.recipes.conda import check_file
from gateway.submit.recipes.direct import TEMPLATE, DirectPackages
from gateway.submit.recipes.packages import make_recipe
from gateway.submit.request import BuildRequest
from swell.api.containers import (
    MAX_LEVEL,
    BuildCompression,
    BuildOptions,
    CompressionMode,
    ContainerRequest,
    ScanMode,
)
from swell.conda.match_specs import is_parser_loaded
from swell.errors import BadRequest, NotSupported, TooLarge
from swell.oci.platform import Platform, parse_platform
from swell.oci.reference import Reference, parse_reference

MAX_FILE = 128 << 10  # bytes of a container file
MAX_CONDA_FILE = 50_000  # characters of base64
FAST_SIZE = 4 << 10  # characters; smaller requests are validated within some milliseconds
MAX_TEXT = 2048  # characters of a name or a URL
MAX_INCLUDES = 10
MAX_OPTIONS, MAX_OPTIONS_SIZE = 100, 32 << 10  # entries, and characters, of buildArgs and of labels
MAX_SECRETS = 10  # of a build

_MULTI = "linux/amd64,linux/arm64"
_SHORT_MEMBERS = {
    field.name: field.encode_name
    for field in msgspec.structs.fields(ContainerRequest)
    if field.type == str | None and not field.name.endswith(("_file", "_token"))
}
_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,254}")
_PREDEFINED_ARGUMENT = re.compile(r"(TARGET|BUILD)(PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE")
_SECRET_NAME = re.compile(SECRET_NAME)
_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class _Texts(Struct, frozen=True):
    """The decoded texts of a request."""

    containerfile: str | None = None
    environment: str | None = None
    template: str | None = None
    direct: DirectPackages | None = None


def validate(
    request: ContainerRequest,
    repositories: Repositories,
    *,
    legacy: bool = False,
    default_channels: tuple[str, ...] = (),
) -> BuildRequest:
    """Return the build request for *request*; *legacy* selects the rules of `/container-token`.

    *default_channels* are what the Conda channel `defaults` stands for.

    Raises:
        BadRequest, TooLarge, DigestInvalid: a member is invalid, or excludes another one; the message names it.
        NotSupported: this server does not implement the operation.
    """
    _check_sizes(request)
    image = parse_reference(request.container_image) if request.container_image else None
    _check_repositories(request)
    _check_mirror(request, image, legacy=legacy)
    _check_sources(request, legacy=legacy)
    _check_freeze(request, repositories)
    texts = _decode_texts(request, default_channels)
    platforms = _parse_platforms(request)
    _check_combinations(request, image, texts)
    inline = InlineLayers()
    return BuildRequest(
        platforms=platforms,
        image=image,
        containerfile=texts.containerfile,
        environment=texts.environment,
        tools=tools_of(texts.environment) if texts.environment else (),
        template=texts.template,
        direct=texts.direct,
        container_config=validate_config(request.container_config, inline),
        context=validate_layer("buildContext", request.build_context, inline) if request.build_context else None,
        includes=tuple(map(_parse_include, request.container_includes or ())),
        repository=_repository(request, repositories),
        cache_repository=_cache_repository(request, repositories),
        strategy=effective_strategy(
            request.name_strategy, _requested_repository(request, repositories), repositories.public
        ),
        compression=request.build_compression,
        options=_build_options(request, image, texts),
        sif=request.format == "sif",
        freeze=request.freeze,
        dry_run=request.dry_run,
        blobs=inline.blobs,
    )


def is_slow_to_validate(request: ContainerRequest) -> bool:
    """Whether the texts of *request* are long; to validate the largest environment takes about a second.

    The first packages load the parser of match specifications.
    """
    if request.packages and not is_parser_loaded():
        return True
    config, packages = request.container_config, request.packages
    layers = (*((config.layers or ()) if config else ()), request.build_context)
    texts = [layer.location for layer in layers if layer]
    texts += [request.container_file or "", request.conda_file or ""]
    if packages:
        texts += [packages.environment or "", *(packages.entries or ())]
    return sum(map(len, texts)) > FAST_SIZE


def _check_sizes(request: ContainerRequest) -> None:
    """Check the lengths of all texts: records of requests are stored for months."""
    if len(request.conda_file or "") > MAX_CONDA_FILE:
        raise TooLarge(f"condaFile has more than {MAX_CONDA_FILE} characters")
    for name, member in _SHORT_MEMBERS.items():
        if len(getattr(request, name) or "") > MAX_TEXT:
            raise TooLarge(f"{member} has more than {MAX_TEXT} characters")


def _check_repositories(request: ContainerRequest) -> None:
    if request.mirror:
        return
    repositories = {"buildRepository": request.build_repository, "cacheRepository": request.cache_repository}
    for member, repository in repositories.items():
        if repository:
            _check_repository(member, repository)


def _check_repository(member: str, repository: str) -> None:
    if "://" in repository:
        raise BadRequest(f"{member} must not begin with a scheme such as {repository.partition('://')[0]}://")
    if "/" not in repository:
        raise BadRequest(f"{member} {repository!r} needs a path after the registry")
    if ":" in repository.rpartition("/")[2]:
        raise BadRequest(f"{member} {repository!r} must not have a tag")
    with member_errors(member):
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
    if present := [name for name, value in forbidden.items() if value]:
        raise BadRequest(f"mirror cannot be combined with {', '.join(present)}")
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


def _check_freeze(request: ContainerRequest, repositories: Repositories) -> None:
    if not request.freeze or repositories.is_custom(request.build_repository):
        return
    if request.packages and not repositories.public:
        raise BadRequest("freeze of packages needs a buildRepository of your own [3]")
    if request.container_file or request.container_image:
        raise BadRequest(f"freeze needs a buildRepository of your own [{1 if request.container_file else 2}]")


def _decode_texts(request: ContainerRequest, default_channels: tuple[str, ...]) -> _Texts:
    if request.packages:
        recipe = make_recipe(request.packages, request.build_template, request.format == "sif", default_channels)
        return _Texts(recipe.containerfile, recipe.environment, recipe.template, recipe.direct)
    if not request.container_file:
        return _Texts()
    containerfile = _decode("containerFile", request.container_file, MAX_FILE)
    environment = _decode("condaFile", request.conda_file, MAX_CONDA_FILE) if request.conda_file else None
    if environment:
        check_file(environment, "condaFile")
    return _Texts(containerfile, environment, request.build_template)


def _parse_platforms(request: ContainerRequest) -> tuple[Platform, ...]:
    """The requested platforms in a fixed order: the container id depends on it."""
    names = (request.container_platform or "linux/amd64").split(",")
    platforms = tuple(sorted((parse_platform(name.strip()) for name in names), key=str))
    if not all(platform.os == "linux" for platform in platforms):
        raise BadRequest(f"containerPlatform {request.container_platform!r}: only linux is supported")
    if len(platforms) == 1:
        return platforms
    if ",".join(map(str, platforms)) != _MULTI:
        raise BadRequest(f"containerPlatform {request.container_platform!r}: several platforms must be {_MULTI}")
    if request.format == "sif" or not (request.container_file or request.packages):
        raise BadRequest("several platforms need a containerFile or packages, and no format sif")
    if request.container_includes and not request.freeze:
        raise BadRequest("containerIncludes of several platforms need freeze")
    return platforms


def _check_combinations(request: ContainerRequest, image: Reference | None, texts: _Texts) -> None:
    if bool(image) == bool(texts.containerfile):
        raise BadRequest("give either containerImage or containerFile or packages, exactly one of them")
    config = request.container_config
    is_augmented = request.container_includes or (config and not config.is_empty)
    if image and image.digest and is_augmented and not request.freeze:
        raise BadRequest("containerImage is named by its digest: only freeze can add something to it")
    if request.build_context and not texts.containerfile:
        raise BadRequest("buildContext needs a containerFile; leave it out for a containerImage")
    if request.build_context and texts.direct:
        raise BadRequest(f"buildContext is not used by {TEMPLATE}; leave it out")
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
        raise BadRequest(f"buildCompression.level of {mode} must be 0 to {MAX_LEVEL[mode]}, not {compression.level}")


def _build_options(request: ContainerRequest, image: Reference | None, texts: _Texts) -> BuildOptions | None:
    """The build arguments, target stage and labels; None if there are none."""
    options = BuildOptions(
        build_args=request.build_args or {},
        target=request.target or "",
        labels=request.labels or {},
        build_secrets=request.build_secrets or {},
    )
    if options.is_empty:
        return None
    if image or texts.direct or not request.container_file or request.format == "sif":
        raise BadRequest(
            "buildArgs, target, labels and buildSecrets need a containerFile that becomes an image; leave them out"
        )
    _check_secrets(options.build_secrets)
    for member, values, name in (
        ("buildArgs", options.build_args, _ARGUMENT_NAME),
        ("labels", options.labels, _LABEL_NAME),
    ):
        if len(values) > MAX_OPTIONS or sum(len(key) + len(value) for key, value in values.items()) > MAX_OPTIONS_SIZE:
            raise TooLarge(f"{member} has more than {MAX_OPTIONS} entries or {MAX_OPTIONS_SIZE} characters")
        for key, value in values.items():
            if not name.fullmatch(key) or "\0" in value:
                raise BadRequest(
                    f"{member} has the entry {key[:100]!r}, which is not a name, or a value that is not text"
                )
    if predefined := next((key for key in options.build_args if _PREDEFINED_ARGUMENT.fullmatch(key)), None):
        raise BadRequest(f"buildArgs has the entry {predefined!r}, which follows from containerPlatform and target")
    if options.target and not _STAGE_NAME.fullmatch(options.target):
        raise BadRequest(f"target {options.target[:100]!r} is not the name or number of a stage")
    return options


def _check_secrets(secrets: Mapping[str, str]) -> None:
    if len(secrets) > MAX_SECRETS:
        raise TooLarge(f"buildSecrets has more than {MAX_SECRETS} entries")
    if invalid := next((text for text in chain(*secrets.items()) if not _SECRET_NAME.fullmatch(text)), None):
        raise BadRequest(f"buildSecrets has {invalid[:100]!r}, which is neither an id nor the name of a secret")


def _parse_include(name: str) -> Reference:
    with member_errors("containerIncludes"):
        return parse_reference(name)


def _requested_repository(request: ContainerRequest, repositories: Repositories) -> str:
    default = repositories.public if request.freeze and repositories.public else repositories.build
    return request.build_repository or default


def _repository(request: ContainerRequest, repositories: Repositories) -> str:
    return build_repository(
        _requested_repository(request, repositories),
        strategy=request.name_strategy,
        public=repositories.public,
        reserved=repositories.reserved if request.build_repository else frozenset(),
    )


def _cache_repository(request: ContainerRequest, repositories: Repositories) -> str | None:
    """The client's cache for the client's repository, the server's cache for a repository of the server.

    Never mixed: an image in a repository of the server answers every client with the same recipe, so no client may
    control its cached steps. The server's cache has no steps of builds with secrets: clients without the secrets read
    it, and the key of a step does not depend on them.
    """
    if repositories.is_custom(request.build_repository):
        return request.cache_repository if repositories.is_custom(request.cache_repository) else None
    return None if request.build_secrets else repositories.cache


def _decode(member: str, encoded: str, limit: int) -> str:
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    if size > limit:
        raise TooLarge(f"{member} has {size} bytes; the limit is {limit}")
    return decode_text(member, encoded)
