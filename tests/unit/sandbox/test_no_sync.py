"""The filter that answers fsync and similar calls answers nothing else."""

import struct

import pytest

from swell_sandbox.no_sync import instructions

ALLOW, SUCCEED = 0x7FFF0000, 0x00050000
X86, ARM = 0xC000003E, 0xC00000B7


def answer(code: bytes, architecture: int, number: int) -> int:
    """Interpret *code* as the kernel does, for a system call."""
    data, value, at = {0: number, 4: architecture}, 0, 0
    while True:
        kind, if_equal, otherwise, operand = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        match kind:
            case 0x20:
                value = data[operand]
            case 0x15:
                at += if_equal if value == operand else otherwise
            case _:
                return int(operand)


@pytest.mark.parametrize(
    ("machine", "architecture", "syncs"),
    [("x86_64", X86, {74, 75, 162, 306, 277, 26}), ("aarch64", ARM, {82, 83, 81, 267, 84, 227})],
)
def test_only_syncs_are_answered(machine: str, architecture: int, syncs: set[int]) -> None:
    """A wrong jump would let every program fail, or end without an error that it needs."""
    code = instructions(machine)
    assert {number for number in range(600) if answer(code, architecture, number) == SUCCEED} == syncs
    assert {answer(code, architecture, number) for number in range(600)} == {ALLOW, SUCCEED}


def test_calls_of_another_architecture_are_allowed() -> None:
    """Their numbers mean something else."""
    code = instructions("x86_64")
    assert {answer(code, 0x40000003, number) for number in range(600)} == {ALLOW}


def test_an_unknown_machine_has_no_filter() -> None:
    """Programs run there as they would without it."""
    assert instructions("riscv64") == b""
