"""Platforms that are not this machine's."""

import platform
from pathlib import Path

import pytest

from builder.adapters.emulation import lacks
from builder.domain.emulation import emulator_of, runs_steps

REGISTERED = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POCF\noffset 0\n"


@pytest.mark.parametrize(
    ("wanted", "machine", "emulator"),
    [
        ("linux/amd64", "x86_64", None),
        ("linux/386", "x86_64", None),
        ("linux/arm64", "x86_64", "qemu-aarch64"),
        ("linux/arm/v7", "x86_64", "qemu-arm"),
        ("linux/arm64", "aarch64", None),
        ("linux/amd64", "aarch64", "qemu-x86_64"),
        ("linux/riscv64", "riscv64", None),
    ],
)
def test_a_foreign_platform_has_an_emulator(wanted: str, machine: str, emulator: str | None) -> None:
    assert emulator_of(wanted, machine) == emulator


@pytest.mark.parametrize(
    ("containerfile", "runs"),
    [
        ("FROM a\nRUN true\n", True),
        ("from a\n\trun true\n", True),
        ("FROM a\nCOPY b /\nENV RUN=1\n# RUN\n", False),
        ("FROM --platform=$BUILDPLATFORM a AS b\nRUN make\nFROM scratch\nCOPY --from=b /x /x\n", False),
        ("FROM --platform=linux/amd64 a AS b\nRUN make\nFROM a\nRUN true\n", True),
        ("", False),
    ],
)
def test_steps_need_an_emulator_and_files_do_not(containerfile: str, runs: bool) -> None:
    """A layer can be copied into an image for any platform, and a stage that names its own may cross-compile."""
    assert runs_steps(containerfile) is runs


@pytest.mark.skipif(platform.machine() == "aarch64", reason="arm64 is this machine's own")
@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "binfmt_misc is not mounted"),
        ({"register": ""}, "not registered"),
        ({"register": "", "qemu-aarch64": REGISTERED.replace("enabled", "disabled")}, "enabled"),
        ({"register": "", "qemu-aarch64": REGISTERED.replace("POCF", "POC")}, "flag F"),
        ({"register": "", "qemu-aarch64": REGISTERED}, None),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, files: dict[str, str], words: str | None) -> None:
    """`exec format error` tells nobody what to install."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    told = lacks("linux/arm64", tmp_path)
    assert (words in told if told else False) if words else told is None
