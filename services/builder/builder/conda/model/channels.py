"""Channels and platforms of conda: the URL of a named channel, and the machine that an image is assumed to run on.

Sources: conda-build, "Channels and generating an index",
https://docs.conda.io/projects/conda-build/en/stable/concepts/generating-index.html; CEP 30, for the packages that stand
for the machine itself, https://github.com/conda/ceps/blob/main/cep-0030.md
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from yarl import URL

from swell.conda.match_specs import PackageSpec, parse_spec
from swell.errors import BadRequest
from swell.oci.platform import Platform

_SUBDIRS = {"linux/amd64": "linux-64", "linux/arm64": "linux-aarch64"}
_ARCHSPECS = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}
_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_LINUX = "5.10"
_SILENT = frozenset({"nodefaults"})
MAX_CHANNELS = 32


class SolveRequest(Struct, frozen=True):
    """A request to the solver: *specs*, each with its channel's URL if it names one, and *channels* by priority."""

    specs: tuple[str, ...]
    channels: tuple[str, ...]


def subdir_of(platform: Platform) -> str:
    """Return conda's name of *platform*: `linux-64` for linux/amd64.

    Raises:
        BadRequest: no channel has packages for it.
    """
    if found := _SUBDIRS.get(str(platform)):
        return found
    raise BadRequest(f"Conda packages are for {' and '.join(_SUBDIRS)}, not for {platform}")


def machine(subdir: str, glibc: str, cuda: str | None = None) -> Mapping[str, tuple[str, str]]:
    """Return conda's virtual packages, name to (version, build), for the machine that runs the image."""
    found = {
        "__unix": ("0", "0"),
        "__linux": (_LINUX, "0"),
        "__glibc": (glibc, "0"),
        "__archspec": ("1", _ARCHSPECS[subdir]),
    }
    return found | ({"__cuda": (cuda, "0")} if cuda else {})


def parse_request(specs: Iterable[str], channels: Iterable[str], names: str, subdir: str) -> SolveRequest:
    """Parse *specs* and *channels* for *subdir*; *names* is the base URL of named channels.

    A channel that only a spec names comes after the others.

    Raises:
        BadRequest: a spec or a channel cannot be used here, or no channel is named.
    """
    addresses = dict.fromkeys(address_of(channel, names) for channel in channels if channel not in _SILENT)
    parsed = []
    for text in specs:
        spec = parse_spec(text)
        if spec.url:
            raise BadRequest(f"packages must be named, not given by URL: {text[:200]!r}")
        address = address_of(spec.channel, names) if spec.channel else ""
        if address:
            addresses.setdefault(address)
        parsed.append(_spec_text(spec, address, subdir))
    if not addresses:
        raise BadRequest("packages.channels is empty; name at least one channel, such as conda-forge")
    if len(addresses) > MAX_CHANNELS:
        raise BadRequest(f"packages names more than {MAX_CHANNELS} channels")
    return SolveRequest(tuple(parsed), tuple(addresses))


def _spec_text(spec: PackageSpec, address: str, subdir: str) -> str:
    """Return *spec* for the solver, with the URL *address* of its channel."""
    text = spec.rest
    if spec.subdir:
        if spec.subdir not in {subdir, "noarch"}:
            raise BadRequest(f"{spec.name} is requested from {spec.subdir}, but the image is for {subdir}")
        text = f'{text[:-1]}, subdir="{spec.subdir}"]' if text.endswith("]") else f'{text}[subdir="{spec.subdir}"]'
    return f"{address}::{text}" if address else text


def address_of(channel: str, names: str) -> str:
    """Return the URL of *channel*, without a trailing slash.

    Raises:
        BadRequest: it is invalid, or has credentials, which every reader of the lock file would see.
    """
    if "://" not in channel:
        if not _NAME.fullmatch(channel) or ".." in channel:
            raise BadRequest(f"{channel[:200]!r} is not a channel: expected a name such as conda-forge, or a URL")
        return f"{names.rstrip('/')}/{channel}"
    try:
        url = URL(channel)
    except ValueError as error:
        raise BadRequest(f"{channel[:200]!r} is not the URL of a channel") from error
    if url.user or url.password or "/t/" in url.path:
        raise BadRequest("channels with credentials are not supported; use a channel that is open to this server")
    if url.scheme not in {"http", "https", "file"} or url.query_string or url.fragment or re.search(r"\s", channel):
        raise BadRequest(f"{channel[:200]!r} is not the URL of a channel: expected https://HOST/PATH")
    return str(url).rstrip("/")
