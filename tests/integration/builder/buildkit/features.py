"""Features of container files: the smallest file that needs each, which fails to build if it does not work.

Source: https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/docs/reference.md

`{base}` is an image of busybox, `{registry}` its registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Feature:
    """`config` are fields that the image's configuration must have; `options` are those of a request."""

    name: str
    body: str
    context: Mapping[str, bytes] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def containerfile(self) -> str:
        return self.body if "FROM " in self.body else f"FROM {{base}}\n{self.body}"


A = {"a": b"A\n", "d/b": b"B\n", "d/e/c": b"C\n"}
GO = {"go.mod": b"m", "cmd/main.go": b"g", "cmd/x.txt": b"x", "docs/readme.md": b"r", "a.md": b"a", "keep.md": b"k"}


def ignore(patterns: str) -> dict[str, bytes]:
    return {**GO, ".dockerignore": patterns.encode()}


FEATURES = (
    # here-documents
    Feature("heredoc RUN", "RUN <<EOF\necho one > /x\necho two >> /x\nEOF\nRUN [ $(wc -l < /x) = 2 ]\n"),
    Feature("heredoc RUN with interpreter", "RUN <<'EOF' sh -e\nx=1\ntest $x = 1\nEOF\n"),
    Feature("heredoc RUN with #!", 'RUN <<EOF\n#!/bin/sh -e\ntest -n "$0"\nEOF\n'),
    Feature("heredoc COPY", "COPY <<EOF /x\nhello\nEOF\nRUN grep -qx hello /x\n"),
    Feature("heredoc COPY quoted", "ARG V=1\nCOPY <<'EOF' /x\n$V\nEOF\nRUN grep -qxF '$V' /x\n"),
    Feature("heredoc COPY expanded", "ARG V=1\nCOPY <<EOF /x\n$V\nEOF\nRUN grep -qx 1 /x\n"),
    Feature("heredoc COPY tabs", "COPY <<-EOF /x\n\thello\n\tEOF\nRUN grep -qx hello /x\n"),
    Feature("heredoc COPY several", "COPY <<A <<B /x/\none\nA\ntwo\nB\nRUN grep one /x/A && grep two /x/B\n"),
    Feature("heredoc COPY --chmod", "COPY --chmod=755 <<EOF /x\n#!/bin/sh\nEOF\nRUN test -x /x\n"),
    Feature("heredoc ADD", "ADD <<EOF /x\nhello\nEOF\nRUN grep hello /x\n"),
    Feature("heredoc to stdin of a program", "RUN cat <<EOF > /x\nhello\nEOF\nRUN grep hello /x\n"),
    # COPY and ADD
    Feature("COPY --link", "COPY --link a /x\nRUN grep A /x\n", A),
    Feature("COPY --link over a symbolic link", "RUN ln -s /tmp /l\nCOPY --link a /m/a\nRUN grep A /m/a\n", A),
    Feature("COPY --parents", "COPY --parents d/e/c /x/\nRUN grep C /x/d/e/c\n", A),
    Feature("COPY --parents with a pivot", "COPY --parents d/./e/c /x/\nRUN grep C /x/e/c\n", A),
    Feature("COPY --parents with **", "COPY --parents **/c /x/\nRUN grep C /x/d/e/c\n", A),
    Feature("COPY --exclude", "COPY --exclude=d/e . /x/\nRUN test -e /x/d/b && test ! -e /x/d/e\n", A),
    Feature("COPY --exclude with **", "COPY --exclude=**/c . /x/\nRUN test -e /x/a && test ! -e /x/d/e/c\n", A),
    Feature("COPY --chmod octal", "COPY --chmod=640 a /x\nRUN [ $(stat -c %a /x) = 640 ]\n", A),
    Feature("COPY --chmod symbolic", "COPY --chmod=u=rwx,go=rx a /x\nRUN [ $(stat -c %a /x) = 755 ]\n", A),
    Feature("COPY --chmod +x", "COPY --chmod=+x a /x\nRUN test -x /x\n", A),
    Feature("COPY --chown by number", "COPY --chown=12:34 a /x\nRUN [ $(stat -c %u:%g /x) = 12:34 ]\n", A),
    Feature(
        "COPY --chown by name",
        "RUN echo u:x:7:8::/:/bin/sh > /etc/passwd; echo g:x:9: > /etc/group\n"
        "COPY --chown=u:g a /x\nRUN [ $(stat -c %u:%g /x) = 7:9 ]\n",
        A,
    ),
    Feature(
        "COPY --from a stage",
        "FROM {base} AS one\nRUN echo 1 > /o\nFROM {base}\nCOPY --from=one /o /x\nRUN grep 1 /x\n",
    ),
    Feature("COPY --from a number", "FROM {base}\nRUN echo 1 > /o\nFROM {base}\nCOPY --from=0 /o /x\nRUN grep 1 /x\n"),
    Feature("COPY --from an image", "FROM scratch\nCOPY --from={base} /bin /bin\nRUN true\n"),
    Feature("COPY a pattern", "COPY d/* /x/\nRUN test -e /x/b && test -e /x/c\n", A),
    Feature("COPY in JSON", 'COPY ["a", "/x y"]\nRUN grep A "/x y"\n', A),
    Feature("COPY an optional file", "COPY a nothin[g] /x/\nRUN test -e /x/a\n", A),
    Feature("COPY several", "COPY a d/b /x/\nRUN test -e /x/a && test -e /x/b\n", A),
    Feature("ADD an archive", "ADD t.tar.gz /x\nRUN grep T /x/t\n", {"t.tar.gz": b"@archive"}),
    Feature(
        "ADD --unpack=false", "ADD --unpack=false t.tar.gz /x/\nRUN test -e /x/t.tar.gz\n", {"t.tar.gz": b"@archive"}
    ),
    # mounts
    Feature("RUN --mount=type=bind", "RUN --mount=target=/m grep A /m/a\n", A),
    Feature("RUN --mount relative target", "WORKDIR /w\nRUN --mount=type=bind,source=a,target=m grep A /w/m\n", A),
    Feature("RUN --mount rw", "RUN --mount=type=bind,rw,target=/m echo x > /m/new && test -e /m/new\n", A),
    Feature(
        "RUN --mount from a stage",
        "FROM {base} AS one\nRUN echo 1 > /o\nFROM {base}\nRUN --mount=from=one,target=/m grep 1 /m/o\n",
    ),
    Feature("RUN --mount from an image", "RUN --mount=from={base},target=/m test -e /m/bin/busybox\n"),
    Feature(
        "RUN --mount=type=cache",
        "RUN --mount=type=cache,target=/c echo 1 > /c/x\nRUN --mount=type=cache,target=/c grep 1 /c/x\n",
    ),
    Feature(
        "RUN --mount=type=cache options",
        "RUN --mount=type=cache,id=i,target=/c,sharing=locked,uid=5,mode=0700 [ $(stat -c %u /c) = 5 ]\n",
    ),
    Feature("RUN --mount=type=tmpfs", "RUN --mount=type=tmpfs,target=/t mount | grep -q '/t type tmpfs'\n"),
    Feature(
        "RUN --mount=type=tmpfs size",
        "RUN --mount=type=tmpfs,target=/t,size=1m ! dd if=/dev/zero of=/t/x bs=1M count=2\n",
    ),
    Feature("RUN --mount=type=secret optional", "RUN --mount=type=secret,id=none test ! -e /run/secrets/none\n"),
    Feature("RUN --mount=type=secret env optional", 'RUN --mount=type=secret,id=none,env=S test -z "$S"\n'),
    Feature("RUN --mount several", "RUN --mount=target=/m --mount=type=tmpfs,target=/t cp /m/a /t/\n", A),
    Feature("RUN --network=none", "RUN --network=none [ $(ls /sys/class/net 2>/dev/null | grep -vc lo) = 0 ]\n"),
    Feature("RUN --network=default", "RUN --network=default true\n"),
    Feature("RUN --security=sandbox", "RUN --security=sandbox true\n"),
    # variables
    Feature("ARG before FROM", "ARG B={base}\nFROM ${B}\nRUN true\n"),
    Feature(
        "FROM stage-${ARG}",
        "ARG V=two\nFROM {base} AS stage-one\nFROM {base} AS stage-two\nRUN echo 2 > /x\n"
        "FROM stage-${V}\nRUN grep 2 /x\n",
    ),
    Feature("${X:-default}", "ARG X\nENV Y=${X:-d}\nRUN test $Y = d\n"),
    Feature("${X:+other}", "ARG X=1\nENV Y=${X:+o}\nRUN test $Y = o\n"),
    Feature("${X#prefix}", "ARG X=foobar\nENV Y=${X#foo}\nRUN test $Y = bar\n"),
    Feature("${X##prefix}", "ARG X=a-b-c\nENV Y=${X##*-}\nRUN test $Y = c\n"),
    Feature("${X%suffix}", "ARG X=foobar\nENV Y=${X%bar}\nRUN test $Y = foo\n"),
    Feature("${X/a/b}", "ARG X=aba\nENV Y=${X/a/c}\nRUN test $Y = cba\n"),
    Feature("${X//a/b}", "ARG X=aba\nENV Y=${X//a/c}\nRUN test $Y = cbc\n"),
    Feature("ARG several", "ARG A=1 B=2\nRUN test $A$B = 12\n"),
    Feature("buildArgs", "ARG V=1\nRUN test $V = 2\n", options={"build_args": {"V": "2"}}),
    Feature("buildArgs before FROM", "ARG B=nothing\nFROM ${B}\nRUN true\n", options={"build_args": {"B": "{base}"}}),
    Feature(
        "TARGETARCH",
        "ARG TARGETARCH\nARG TARGETPLATFORM\nRUN test $TARGETARCH = amd64 && test $TARGETPLATFORM = linux/amd64\n",
    ),
    Feature("BUILDPLATFORM", "FROM --platform=$BUILDPLATFORM {base}\nRUN true\n"),
    Feature(
        "target",
        "FROM {base} AS one\nENV S=1\nFROM {base} AS two\nRUN false\n",
        config={"Env": "S=1"},
        options={"target": "one"},
    ),
    Feature("stages that are not needed do not run", "FROM {base} AS unused\nRUN false\nFROM {base}\nRUN true\n"),
    # instructions
    Feature(
        "HEALTHCHECK",
        "HEALTHCHECK --interval=5s --retries=2 CMD true\n",
        config={"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 2}},
    ),
    Feature(
        "HEALTHCHECK --start-interval",
        "HEALTHCHECK --start-interval=1s CMD true\n",
        config={"Healthcheck": {"Test": ["CMD-SHELL", "true"], "StartInterval": 1_000_000_000}},
    ),
    Feature("HEALTHCHECK NONE", "HEALTHCHECK NONE\n", config={"Healthcheck": {"Test": ["NONE"]}}),
    Feature(
        "EXPOSE a range",
        "EXPOSE 8000-8002/udp\n",
        config={"ExposedPorts": {"8000/udp": {}, "8001/udp": {}, "8002/udp": {}}},
    ),
    Feature(
        "VOLUME keeps data",
        "RUN mkdir /v\nVOLUME /v\nRUN echo 1 > /v/x\nRUN grep 1 /v/x\n",
        config={"Volumes": {"/v": {}}},
    ),
    Feature("SHELL", 'SHELL ["/bin/sh", "-ec"]\nRUN test -n x\n', config={"Shell": ["/bin/sh", "-ec"]}),
    Feature("STOPSIGNAL", "STOPSIGNAL SIGINT\n", config={"StopSignal": "SIGINT"}),
    Feature("USER", "USER 12:34\nRUN [ $(id -u):$(id -g) = 12:34 ]\n", config={"User": "12:34"}),
    Feature("WORKDIR relative", "WORKDIR /a\nWORKDIR b\nRUN [ $(pwd) = /a/b ]\n", config={"WorkingDir": "/a/b"}),
    Feature("LABEL", 'LABEL a="b c" d=e\n', config={"Labels": {"a": "b c", "d": "e"}}),
    Feature("labels", "LABEL a=1\n", config={"Labels": {"a": "2", "z": "3"}}, options={"labels": {"a": "2", "z": "3"}}),
    Feature(
        "ENTRYPOINT and CMD", 'ENTRYPOINT ["/bin/x"]\nCMD ["y"]\n', config={"Entrypoint": ["/bin/x"], "Cmd": ["y"]}
    ),
    Feature("ONBUILD", "ONBUILD RUN true\n", config={"OnBuild": ["RUN true"]}),
    Feature("escape", "# escape=`\nFROM {base}\nRUN echo a `\n  > /x\nRUN grep a /x\n"),
    Feature("syntax", "# syntax=docker/dockerfile:1\nFROM {base}\nRUN true\n"),
    Feature("comments within a command", "RUN echo a \\\n# comment\n  > /x\nRUN grep a /x\n"),
    # .dockerignore, as Docker has it
    Feature(
        "ignore **", "COPY . /x\nRUN test ! -e /x/cmd/main.go && test ! -e /x/go.mod\n", {**ignore("**\n!keep.md\n")}
    ),
    Feature(
        "ignore **/*.md",
        "COPY . /x\nRUN test ! -e /x/docs/readme.md && test ! -e /x/a.md && test -e /x/cmd/main.go\n",
        ignore("**/*.md\n"),
    ),
    Feature("ignore *.md", "COPY . /x\nRUN test -e /x/docs/readme.md && test ! -e /x/a.md\n", ignore("*.md\n")),
    Feature(
        "ignore and keep one", "COPY . /x\nRUN test -e /x/keep.md && test ! -e /x/a.md\n", ignore("*.md\n!keep.md\n")
    ),
    Feature(
        "ignore all but !**/*.go",
        "COPY . /x\nRUN test -e /x/cmd/main.go && test ! -e /x/cmd/x.txt\n",
        ignore("*\n!**/*.go\n"),
    ),
    Feature(
        "ignore all but !**/go.mod",
        "COPY . /x\nRUN test -e /x/go.mod && test ! -e /x/cmd/main.go\n",
        ignore("*\n!**/go.mod\n"),
    ),
    Feature("ignore the last match wins", "COPY . /x\nRUN test ! -e /x/keep.md\n", ignore("!keep.md\n*.md\n")),
    Feature("ignore a folder", "COPY . /x\nRUN test ! -e /x/cmd && test -e /x/docs\n", ignore("cmd\n")),
    Feature(
        "ignore with comments and slashes",
        "COPY . /x\nRUN test ! -e /x/cmd && test ! -e /x/a.md\n",
        ignore("# no\n/cmd/\n./a.md\n"),
    ),
    Feature("ignore cmd/**", "COPY . /x\nRUN test ! -e /x/cmd/main.go\n", ignore("cmd/**\n")),
    Feature("ignore ?.md", "COPY . /x\nRUN test ! -e /x/a.md && test -e /x/keep.md\n", ignore("?.md\n")),
)

BUILDAH_LACKS = {
    "here-documents": (
        *("heredoc RUN", "heredoc RUN with interpreter", "heredoc RUN with #!", "heredoc COPY", "heredoc COPY quoted"),
        *("heredoc COPY expanded", "heredoc COPY tabs", "heredoc COPY several", "heredoc COPY --chmod", "heredoc ADD"),
        "heredoc to stdin of a program",
    ),
    "flags of COPY and ADD": (
        *("COPY --link", "COPY --link over a symbolic link", "COPY --parents", "COPY --parents with a pivot"),
        *("COPY --parents with **", "COPY --exclude", "COPY --exclude with **", "COPY --chmod symbolic"),
        *("COPY --chmod +x", "ADD --unpack=false"),
    ),
    "flags and mounts of RUN": (
        *("RUN --mount relative target", "RUN --mount=type=tmpfs size", "RUN --mount=type=secret env optional"),
        *("RUN --network=none", "RUN --network=default", "RUN --security=sandbox"),
    ),
    "stages that a variable names": ("FROM stage-${ARG}",),
    "replacements in variables": ("${X#prefix}", "${X##prefix}", "${X%suffix}", "${X/a/b}", "${X//a/b}"),
    "other instructions": ("HEALTHCHECK --start-interval", "EXPOSE a range", "VOLUME keeps data"),
    ".dockerignore": ("ignore all but !**/*.go",),
}
"""The features that Debian 12's buildah 1.28.2 lacks, by the groups of `docs/using.md`. All others work."""
