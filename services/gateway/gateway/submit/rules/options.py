"""Validate the build options of a request: build arguments, target stage, labels and secrets."""

import re
from collections.abc import Mapping
from itertools import chain

from gateway.domain.access.identity import SECRET_NAME
from gateway.submit.rules.texts import Texts
from swell.api.containers import MAX_LEVEL, BuildCompression, BuildOptions, CompressionMode, ContainerRequest
from swell.errors import BadRequest, TooLarge
from swell.oci.reference import Reference

MAX_OPTIONS, MAX_OPTIONS_SIZE = 100, 32 << 10  # entries, and characters, of buildArgs and of labels
MAX_SECRETS = 10  # of a build

_ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,254}")
_PREDEFINED_ARGUMENT = re.compile(r"(TARGET|BUILD)(PLATFORM|OS|OSVERSION|ARCH|VARIANT)|TARGETSTAGE")
_SECRET_NAME = re.compile(SECRET_NAME)
VAULT = "vault:"
"""A secret with this prefix is a stored credential: the rest is its registry, or a path."""
_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def build_options(request: ContainerRequest, image: Reference | None, texts: Texts) -> BuildOptions | None:
    """Return the build arguments, target stage, labels and secrets of *request*; None if it has none.

    Raises:
        BadRequest, TooLarge: a name or a size is not allowed, or *request* has no container file that they apply to.
    """
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
    names = (name for name in secrets.values() if not name.startswith(VAULT))
    if invalid := next((text for text in chain(secrets, names) if not _SECRET_NAME.fullmatch(text)), None):
        raise BadRequest(f"buildSecrets has {invalid[:100]!r}, which is neither an id nor the name of a secret")


def check_compression(compression: BuildCompression | None) -> None:
    """Check the level of *compression*; raises `BadRequest`."""
    mode = (compression and compression.mode) or CompressionMode.GZIP
    if compression and compression.level is not None and not 0 <= compression.level <= MAX_LEVEL[mode]:
        raise BadRequest(f"buildCompression.level of {mode} must be 0 to {MAX_LEVEL[mode]}, not {compression.level}")
