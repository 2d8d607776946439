"""Platforms that are not this machine's."""

import platform
from pathlib import Path

import pytest
from msgspec import structs

from builder.adapters.emulation import Emulators
from builder.domain.emulation import emulator_of, exclusions
from swell.containerfile import parse
from swell.oci.platform import ARCHITECTURES

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
def test_a_foreign_platform_needs_an_emulator(wanted: str, machine: str, emulator: str | None) -> None:
    """The names are the kernel's."""
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
    assert parse(containerfile).runs_steps is runs


@pytest.fixture
def emulators(tmp_path: Path) -> Emulators:
    """A machine without any."""
    for name in ("registered", "etc", "usr"):
        (tmp_path / name).mkdir()
    return Emulators(tmp_path / "registered", (tmp_path / "etc", tmp_path / "usr"), (6, 7))


def configure(emulators: Emulators, interpreter: Path, flags: str = "OPF") -> str:
    line = f":qemu-aarch64:M::\\x7f\\x45:\\xff\\xff:{interpreter}:{flags}"
    (emulators.configured[1] / "qemu-aarch64.conf").write_text(f"# from the package\n{line}\n")
    return line


pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 is foreign here")


def test_a_registered_emulator_needs_no_registration(emulators: Emulators) -> None:
    """The line to register is empty."""
    (emulators.registered / "qemu-aarch64").write_text(REGISTERED)
    assert emulators.registration("linux/arm64") == ""
    assert emulators.registration("linux/amd64") == ""


@pytest.mark.parametrize("file", [REGISTERED.replace("enabled", "disabled"), REGISTERED.replace("POCF", "POC")])
def test_what_would_not_be_found_from_inside_a_container_does_not_count(emulators: Emulators, file: str) -> None:
    """Without the flag F, the emulator is looked for in the image."""
    (emulators.registered / "qemu-aarch64").write_text(file)
    assert emulators.registration("linux/arm64") is None


def test_what_is_installed_and_not_registered_is_registered_by_the_room(emulators: Emulators, tmp_path: Path) -> None:
    """The kernel can register an emulator for one user namespace, without root."""
    (tmp_path / "qemu").touch()
    line = configure(emulators, tmp_path / "qemu")
    assert emulators.registration("linux/arm64") == line
    assert structs.replace(emulators, kernel=(6, 1)).registration("linux/arm64") is None


@pytest.mark.parametrize(("interpreter", "flags"), [("gone", "OPF"), ("qemu", "OP")])
def test_an_unusable_emulator_is_not_registered(
    emulators: Emulators, tmp_path: Path, interpreter: str, flags: str
) -> None:
    """Its interpreter is missing, or it lacks the flag F."""
    (tmp_path / "qemu").touch()
    configure(emulators, tmp_path / interpreter, flags)
    assert emulators.registration("linux/arm64") is None


def test_what_is_missing_is_named(emulators: Emulators) -> None:
    """`exec format error` does not say what to install."""
    assert "qemu-aarch64-static" in emulators.missing("linux/arm64")
    assert "binfmt_misc" in structs.replace(emulators, kernel=(6, 1)).missing("linux/arm64")


def test_what_a_machine_lacks_is_listed_for_each_architecture(emulators: Emulators) -> None:
    """Nothing is missing for the machine's own platform, and a new emulator is found immediately."""
    missing_emulators = emulators.missing_emulators()
    assert set(missing_emulators) == {"arm64", "arm"}
    assert "qemu-arm-static" in missing_emulators["arm"]

    (emulators.registered / "qemu-aarch64").write_text(REGISTERED)

    assert set(emulators.missing_emulators()) == {"arm"}


def test_the_operator_decides_what_a_machine_is_there_for(emulators: Emulators) -> None:
    """The operator may exclude slow platforms; the message names the setting."""
    (emulators.registered / "qemu-aarch64").write_text(REGISTERED)
    narrowed = structs.replace(emulators, only=("linux/amd64",))

    assert narrowed.registration("linux/arm64") is None
    assert narrowed.registration("linux/amd64") == ""
    assert narrowed.missing_emulators()["arm64"] == "linux/arm64 in SWELL_BUILD_PLATFORMS"


def test_of_a_cluster_only_what_the_operator_says_is_known() -> None:
    """A cluster selects its nodes; without the setting no platform is excluded."""
    assert exclusions(()) == {}
    assert set(exclusions(("linux/amd64", "linux/arm64"))) == {"arm"}
    assert set(exclusions(("linux/arm",))) == set(ARCHITECTURES) - {"arm"}
