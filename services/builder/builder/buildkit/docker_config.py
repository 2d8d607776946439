"""The credentials of one build as buildctl reads them.

Sources: https://github.com/docker/cli/blob/master/cli/config/configfile/file.go; containers-auth.json(5),
https://man.archlinux.org/man/containers-auth.json.5.en
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress

import msgspec

from builder.domain.failure import BuildFailure
from swell.base_rules import NO_RULES, BaseRules
from swell.errors import BadRequest
from swell.oci.reference import parse_reference
from swell.store.records import Reason

_HUB = "https://index.docker.io/v1/"
_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})


class _Entry(msgspec.Struct, omit_defaults=True):
    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _AuthFile(msgspec.Struct):
    auths: dict[str, _Entry] = {}


def docker_config(auth_file: bytes, images: Iterable[str]) -> bytes:
    """A config.json with the logins of *auth_file*, each for a whole registry.

    Docker knows no logins for a path of a registry. One is given for the registry if all of *images* there are below
    that path, or below paths with the same login, because it would be shown for the others too.

    Raises:
        BuildFailure: it is not an auth file.
    """
    try:
        auths = msgspec.json.decode(auth_file, type=_AuthFile).auths
    except msgspec.MsgspecError as error:
        raise BuildFailure(Reason.ENGINE, "The builder's credentials are no auth file.") from error
    names = [_full(image) for image in images]
    logins = dict[str, _Entry]()
    by_path = dict[tuple[str, str], _Entry]()
    for key, entry in sorted(auths.items(), key=lambda item: item[0].count("/")):
        bare = key.removeprefix("https://").removeprefix("http://").removesuffix("/v1/").rstrip("/")
        host, slash, path = bare.partition("/")
        host = _HUB if host in _HUB_NAMES else host
        there = [name for registry, name in names if registry == host]
        if not slash or (there and all(name == path or name.startswith(f"{path}/") for name in there)):
            logins[host] = entry
        by_path[host, path] = entry
    for host in {registry for registry, _ in names} - logins.keys():
        found = [_longest(by_path, host, name) for registry, name in names if registry == host]
        if found[0] and all(entry == found[0] for entry in found):
            logins[host] = found[0]
    return msgspec.json.encode({"auths": logins})


def with_push_login(config: bytes, pushes: bytes) -> bytes:
    """Return *config* with the logins of *pushes*, a config.json too, which take precedence for their registries."""
    auths = [msgspec.json.decode(each, type=_AuthFile).auths for each in (config, pushes)]
    return msgspec.json.encode({"auths": auths[0] | auths[1]})


def source_policy(config: bytes, images: Iterable[str], base_rules: BaseRules = NO_RULES) -> bytes:
    """A source policy: of registries with a login in *config*, a build reads only *images*, which are allowed.

    An ONBUILD trigger of a base image may name any image there, and buildkitd would show its login. Other images that
    it names must follow *base_rules*.
    Of the rules that match, the last one counts. Source:
    https://github.com/moby/buildkit/blob/v0.34.2/sourcepolicy/pb/policy.proto
    """
    logins = msgspec.json.decode(config, type=_AuthFile).auths
    hosts = ["docker.io" if host == _HUB else host for host in logins]
    rules = _base_policy(base_rules) + [_rule("DENY", f"{host}/*") for host in hosts]
    for image in images:
        with suppress(BadRequest):  # BuildKit refuses such a name as well
            reference = parse_reference(image)
            if reference.digest:
                rules.append(_rule("ALLOW", f"{reference.name}*@{reference.digest}"))
            else:
                name = f"{reference.name}:{reference.reference}"
                rules += [_rule("ALLOW", name), _rule("ALLOW", f"{name}@*")]
    return msgspec.json.encode({"rules": rules})


def _base_policy(base_rules: BaseRules) -> list[dict[str, object]]:
    """Allow what *base_rules* allow, and deny all other images."""
    if base_rules.is_empty:
        return []
    end = "@sha256:*" if base_rules.digest_only else ""
    allowed = [_rule("ALLOW", f"*{end}")] if not base_rules.allowed else []
    for place in base_rules.allowed:
        allowed += [_rule("ALLOW", f"{place}{separator}*{end}") for separator in ("/", ":")]
        allowed.append(_rule("ALLOW", f"{place}@sha256:*"))
    return [_rule("DENY", "*"), *allowed]


def _rule(action: str, image: str) -> dict[str, object]:
    return {"action": action, "selector": {"identifier": f"docker-image://{image}"}}


def _longest(by_path: Mapping[tuple[str, str], _Entry], host: str, name: str) -> _Entry | None:
    """The login of the longest path that *name* lies in."""
    while name and (host, name) not in by_path:
        name = name.rpartition("/")[0]
    return by_path.get((host, name))


def _full(image: str) -> tuple[str, str]:
    """The registry, as a config file names it, and the repository of *image*."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        name = image if slash else f"library/{image}"
        return _HUB, name.partition("@")[0].partition(":")[0]
    host = _HUB if first in _HUB_NAMES else first
    return host, rest.partition("@")[0].partition(":")[0]
