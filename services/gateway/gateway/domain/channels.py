"""Conda channels: names and URLs of the same channel in one form.

Source: conda's documentation, "Channels",
https://docs.conda.io/projects/conda/en/stable/user-guide/concepts/channels.html
"""

import re
from collections.abc import Iterable
from posixpath import normpath
from urllib.parse import unquote, urlsplit

_ANACONDA = ("anaconda", "main", "r", "msys2", "pkgs", "repo.anaconda.com/pkgs")
_HOSTS = frozenset({"conda.anaconda.org", "conda-static.anaconda.org", "anaconda.org"})
_FORMER_HOSTS = {"repo.continuum.io": "repo.anaconda.com"}
_TOKEN = re.compile(r"t/[^/]+/")


def canonical(channel: str) -> str:
    """*channel* in lower case: the name of a channel of conda.anaconda.org, or `host/path` of another one."""
    text = unquote(channel.strip()).replace("\\", "/")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _path(text)
    if scheme.lower() not in {"http", "https"}:
        return f"{scheme.lower()}://{_path(rest)}"
    parts = urlsplit(f"//{rest}")
    host = (parts.hostname or "").rstrip(".")
    host, path = _FORMER_HOSTS.get(host, host), _TOKEN.sub("", _path(parts.path), count=1)
    return path if host in _HOSTS else f"{host}/{path}".rstrip("/")


def denied_by(channel: str, denied: Iterable[str]) -> str | None:
    """The entry of *denied* that denies *channel*: the same one, or one that it is below.

    `defaults` stands for all channels of Anaconda.
    """
    name = canonical(channel)
    for entry in denied:
        places = (canonical(entry), *(_ANACONDA if entry.strip().lower() == "defaults" else ()))
        if any(f"{name}/".startswith(f"{place}/") for place in places):
            return entry
    return None


def _path(text: str) -> str:
    path = normpath("/" + text.partition("?")[0].partition("#")[0]).lstrip("/")
    return path.lower()
