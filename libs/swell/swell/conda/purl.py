"""Package URLs of Conda packages.

Source: purl-spec, "conda", https://github.com/package-url/purl-spec/blob/main/types-doc/conda-definition.md
"""

import re
from urllib.parse import quote, urlsplit

_TOKEN = re.compile(r"(^|/)t/[^/]+/")
_USER = re.compile(r"//[^/@]*@")
_SUBDIRECTORIES = ("linux-", "osx-", "win-", "noarch", "emscripten-", "wasi-", "zos-", "freebsd-")


def conda_url(name: str, version: str, *, build: str = "", channel: str = "", subdir: str = "", file: str = "") -> str:
    """Return the package URL of a Conda package: *channel* is a name or a URL, *file* the name of its archive."""
    qualifiers = {
        "build": build,
        "channel": _channel_name(channel),
        "subdir": subdir or _subdirectory(channel),
        "type": "conda" if file.endswith(".conda") else "tar.bz2" if file.endswith(".tar.bz2") else "",
    }
    query = "&".join(f"{key}={quote(value, safe='')}" for key, value in qualifiers.items() if value)
    return f"pkg:conda/{quote(name.lower(), safe='')}@{quote(version, safe='')}{'?' if query else ''}{query}"


def without_secrets(url: str) -> str:
    """Return the URL of a channel or a package without a token (`/t/<token>/`) and without user and password."""
    return _TOKEN.sub(r"\1", _USER.sub("//", url, count=1))


def _channel_name(channel: str) -> str:
    """The name of a channel: the path of its URL, without the platform and without a token."""
    path = without_secrets(urlsplit(channel).path if "://" in channel else channel)
    parts = [part for part in path.split("/") if part]
    return "/".join(part for part in parts if not part.startswith(_SUBDIRECTORIES))


def _subdirectory(channel: str) -> str:
    last = channel.rstrip("/").rpartition("/")[2]
    return last if last.startswith(_SUBDIRECTORIES) else ""
