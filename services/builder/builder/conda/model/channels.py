"""Channels and platforms of Conda: where a named channel is, and what machine an image is taken to run on.

Source: conda's channel names and subdirs; CEP-30 for the packages that stand for the machine itself.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct
from yarl import URL

from swell.errors import BadRequest
from swell.oci.platform import Platform

_SUBDIRS = {"linux/amd64": "linux-64", "linux/arm64": "linux-aarch64"}
_ARCHSPECS = {"linux-64": "x86_64", "linux-aarch64": "aarch64"}
_NAME = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*")
_LINUX = "5.10"
_SILENT = frozenset({"nodefaults"})
MOST_CHANNELS = 32


class Wish(Struct, frozen=True):
    """What is to be solved: *specs*, each with the address of its channel if it names one, in order of *channels*."""

    specs: tuple[str, ...]
    channels: tuple[str, ...]


def subdir_of(platform: Platform) -> str:
    """`linux-64` for linux/amd64.

    Raises:
        BadRequest: no channel has packages for it.
    """
    if found := _SUBDIRS.get(str(platform)):
        return found
    raise BadRequest(f"Conda packages are for {' and '.join(_SUBDIRS)}, not for {platform}")


def machine(subdir: str, glibc: str, cuda: str | None = None) -> Mapping[str, tuple[str, str]]:
    """The packages that stand for the machine, by name: version and build. The image's machine, not ours."""
    found = {
        "__unix": ("0", "0"),
        "__linux": (_LINUX, "0"),
        "__glibc": (glibc, "0"),
        "__archspec": ("1", _ARCHSPECS[subdir]),
    }
    return found | ({"__cuda": (cuda, "0")} if cuda else {})


def read_wish(specs: Iterable[str], channels: Iterable[str], names: str) -> Wish:
    """The wish for *specs* of *channels*; a name is found below the address *names*.

    A channel that only a spec names comes after the others.

    Raises:
        BadRequest: a channel is none that can be asked here, or there is none at all.
    """
    addresses = dict.fromkeys(address_of(channel, names) for channel in channels if channel not in _SILENT)
    found = []
    for spec in specs:
        channel, colons, rest = spec.partition("::")
        if colons and "[" not in channel:
            address = address_of(channel, names)
            addresses.setdefault(address)
            found.append(f"{address}::{rest}")
        elif "://" in channel.partition("[")[0]:
            raise BadRequest(f"packages are taken by name, not by address: {spec[:200]!r}")
        else:
            found.append(spec)
    if not addresses:
        raise BadRequest("packages.channels is empty; name at least one channel, such as conda-forge")
    if len(addresses) > MOST_CHANNELS:
        raise BadRequest(f"packages names more than {MOST_CHANNELS} channels")
    return Wish(tuple(found), tuple(addresses))


def address_of(channel: str, names: str) -> str:
    """The address of *channel*, without a slash at its end.

    Raises:
        BadRequest: it is none, or has credentials in it, which would be told to everybody who sees the lock file.
    """
    if "://" not in channel:
        if not _NAME.fullmatch(channel) or ".." in channel:
            raise BadRequest(f"{channel[:200]!r} is no channel: expected a name such as conda-forge, or an address")
        return f"{names.rstrip('/')}/{channel}"
    try:
        url = URL(channel)
    except ValueError as error:
        raise BadRequest(f"{channel[:200]!r} is no address of a channel") from error
    if url.user or url.password or "/t/" in url.path:
        raise BadRequest("channels with credentials are not supported; use a channel that is open to this server")
    if url.scheme not in {"http", "https", "file"} or url.query_string or url.fragment or re.search(r"\s", channel):
        raise BadRequest(f"{channel[:200]!r} is no address of a channel: expected https://HOST/PATH")
    return str(url).rstrip("/")
