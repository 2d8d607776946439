"""Images for other machines than this one."""

import platform
import struct
from pathlib import Path

import pytest
from msgspec import structs

from builder.adapters.emulation import Emulators
from builder.buildah.command_lines import is_about_platform
from builder.buildah.engine import BuildahEngine
from builder.engine import Recipe
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.buildah.test_engine import failure_of
from tests.integration.builder.harness import Output, Registry, gzipped_tar

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 is foreign to x86_64")

SAID = b"an arm64 program ran\n"


def arm64_program() -> bytes:
    """An executable for Linux on arm64: write(1, SAID), exit(0).

    Source: elf(5), https://man7.org/linux/man-pages/man5/elf.5.html
    """
    code = struct.pack(
        "<8I",
        0xD2800808,  # mov x8, 64: write
        0xD2800020,  # mov x0, 1
        0x100000C1,  # adr x1, 24 bytes on
        0xD2800002 | len(SAID) << 5,  # mov x2, length
        0xD4000001,  # svc 0
        0xD2800BA8,  # mov x8, 93: exit
        0xD2800000,  # mov x0, 0
        0xD4000001,  # svc 0
    )
    start, size = 0x400000, 64 + 56 + len(code) + len(SAID)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = identity + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, start + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000)
    return header + segment + code + SAID


def recipe(registry: Registry, folder: Path, step: str) -> Recipe:
    return Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-arm_1",
        target_image=f"{registry.address}/arm:1",
        containerfile=f"FROM scratch\nCOPY --chmod=755 hello /hello\n{step}",
        platform="linux/arm64",
        context=gzipped_tar(folder / "context.tar.gz", {"hello": arm64_program()}),
    )


async def test_files_alone_need_no_emulator(engine: BuildahEngine, registry: Registry, tmp_path: Path) -> None:
    """A frozen image for another platform, or one that was compiled elsewhere."""
    await engine.build(recipe(registry, tmp_path, 'CMD ["/hello"]\n'), Output())
    assert registry.config("arm", "1")["architecture"] == "arm64"


@pytest.mark.parametrize("step", ["", "ARG TARGETARCH\nENV FOR=$TARGETARCH\n"])
@pytest.mark.parametrize("name", ["linux/amd64", "linux/arm/v7"])
async def test_a_log_does_not_mention_arguments_that_were_not_given(
    engine: BuildahEngine, registry: Registry, tmp_path: Path, name: str, step: str
) -> None:
    """Buildah gives some for the platform, and warns when a container file has no use for them."""
    output = Output()
    await engine.build(structs.replace(recipe(registry, tmp_path, step), platform=name), output)
    assert "COMMIT" in output.text
    assert "not consumed" not in output.text


@pytest.mark.parametrize("said", ["TARGETARCH TARGETOS TARGETPLATFORM TARGETVARIANT", "TARGETOS"])
def test_a_warning_about_the_platform_alone_is_left_out(said: str) -> None:
    """One that names what a container file knows stays."""
    warning = "[Warning] one or more build args were not consumed: [{}]"
    assert is_about_platform(warning.format(said).encode())
    assert not is_about_platform(warning.format(f"MODE {said}").encode())
    assert not is_about_platform(f"echo {warning.format(said)}".encode())


async def test_steps_run_by_emulation(engine: BuildahEngine, registry: Registry, tmp_path: Path) -> None:
    """Where qemu-user-static is installed; current kernels need no registration by root."""
    if Emulators().registration("linux/arm64") is None:
        pytest.skip(f"this machine lacks {Emulators().missing('linux/arm64')}")
    output = Output()
    await engine.build(recipe(registry, tmp_path, 'RUN ["/hello"]\n'), output)
    assert SAID.strip() in output
    assert registry.config("arm", "1")["architecture"] == "arm64"


async def test_steps_that_cannot_run_are_refused_at_once(
    engine: BuildahEngine, registry: Registry, tmp_path: Path
) -> None:
    """What is missing is named, before anything is pulled or run."""
    wanted = recipe(registry, tmp_path, 'RUN ["/hello"]\n')
    failure = await failure_of(engine, structs.replace(wanted, platform="linux/wasm"))
    assert failure.reason is Reason.PLATFORM
    assert "linux/wasm" in str(failure) and "qemu-wasm-static" in str(failure)
