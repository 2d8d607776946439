"""Match specifications: the texts that name Conda packages, such as `bioconda::samtools=1.17`.

Rattler parses them, as it does for pixi.
Source: conda's documentation, "Package match specifications",
https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html#package-match-specifications
"""

import re
import sys

from msgspec import Struct

from swell.errors import BadRequest

MAX_SPEC = 500  # characters
_MAX_BRACKETS = 32  # rattler parses nested brackets recursively: thousands of them overflow its stack

_PATH = re.compile(r"(?:\.{0,2}/|~|file:)")
_FILE = re.compile(r"\.(?:conda|tar\.bz2|ya?ml|txt|lock)\Z")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9*]+)*")
_URL = re.compile(r"https?://")
_PACKAGE_FILE = re.compile(r"\.(?:conda|tar\.bz2)(?:#[0-9A-Za-z:]*)?\Z")
_FORM = "write the name and the version as NAME=VERSION"
_CHANNEL_IN_BRACKETS = re.compile(r"[\[,]\s*(?:channel|url)\s*=")
_CHANNEL_PREFIX = re.compile(r"^[^\[\s]*::")
_CHANNEL_MEMBERS = re.compile(r'(?:channel|subdir)="[^"]*"(?:, )?')


class PackageSpec(Struct, frozen=True, kw_only=True):
    """A match specification: `name` with what it requires of `channel`, `subdir` (`linux-64`), version and build.

    `channel` is a name or a URL. `rest` is the specification without channel and subdir, in rattler's form. `url` is
    set for a package that is given by its URL.
    """

    name: str
    rest: str
    channel: str | None = None
    subdir: str | None = None
    url: str | None = None


def is_parser_loaded() -> bool:
    """Whether the next call of `parse_spec` is fast: the first one loads rattler, which takes about 0.1 s."""
    return "rattler" in sys.modules


def is_package_url(text: str) -> bool:
    """Whether *text* is the http(s) URL of a package archive."""
    return bool(_URL.match(text) and "::" not in text and _PACKAGE_FILE.search(text))


def parse_spec(text: str) -> PackageSpec:
    """Parse *text*, at most `MAX_SPEC` characters.

    Raises:
        BadRequest: it names no package that a builder can install; the message says why.
    """
    from rattler import MatchSpec  # noqa: PLC0415  (14 MB of memory that an idle service saves)
    from rattler.exceptions import InvalidMatchSpecError  # noqa: PLC0415

    _check(text)
    try:
        spec = MatchSpec(text, extras=False, conditionals=False, flags=False)
    except InvalidMatchSpecError as error:
        raise BadRequest(f"{text!r} is not a package: {_reason(error)}; {_FORM}") from error
    name = spec.name.normalized
    if spec.namespace == "pip":
        raise BadRequest(f"{text!r} is not a package of Conda; list packages of pip below '- pip:'")
    if spec.namespace or (spec.build and " " in spec.build):
        raise BadRequest(f"{text!r} is not a package; {_FORM}")
    if _VERSION.fullmatch(name):
        raise BadRequest(f"{text!r} is a version, not a package; write it with its package, as NAME={name}")
    named = spec.channel and not ("://" in text or spec.channel.base_url.startswith("file:"))
    url = re.search(r'url="([^"]*)"', str(spec))
    return PackageSpec(
        name=name,
        rest=_without_channel(str(spec)),
        channel=None if spec.channel is None else spec.channel.name if named else spec.channel.base_url.rstrip("/"),
        subdir=spec.subdir,
        url=url[1] if url else None,
    )


def _check(text: str) -> None:
    """Check what rattler accepts or describes otherwise than conda."""
    if len(text) > MAX_SPEC or sum(map(text.count, "([")) > _MAX_BRACKETS:
        raise BadRequest(f"{text[:80]!r}… is too long or too deeply nested for a package")
    if text.startswith("-"):
        raise BadRequest(f"{text!r} is an option; options are not supported: {_instead(text)}")
    if _URL.match(text) and "::" not in text and not _PACKAGE_FILE.search(text):
        raise BadRequest(f"{text!r} is the URL of neither a package (.conda, .tar.bz2) nor a channel (URL::NAME)")
    if len(_CHANNEL_IN_BRACKETS.findall(text)) + text.count("::") > 1:
        raise BadRequest(f"{text!r} names its channel twice, and tools differ in which one they use; name it once")
    if _is_file(text):
        raise BadRequest(f"{text!r} is a file, and a build cannot read the files of your machine")


def _is_file(text: str) -> bool:
    """Whether *text* is a path; a `file://` channel is none, because an operator may allow it."""
    if _URL.match(text):
        return False
    if "::" in text:
        return bool(_PATH.match(text)) and not text.startswith("file://")
    return bool(_PATH.match(text) or _FILE.search(text))


def _instead(option: str) -> str:
    if option.startswith(("-c", "--channel")):
        return "name the channels in 'channels'"
    if option.startswith(("-r", "-f", "--file", "--requirement")):
        return "list the packages of that file here"
    return "name a package"


def _without_channel(text: str) -> str:
    """Remove the channel and the subdir from rattler's own form of a specification."""
    text = _CHANNEL_MEMBERS.sub("", _CHANNEL_PREFIX.sub("", text))
    return text.replace(", ]", "]").replace("[]", "").strip()


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
