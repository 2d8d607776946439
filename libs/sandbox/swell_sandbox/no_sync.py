"""Run a program whose fsync and similar calls succeed at once: `no_sync.py PROGRAM [ARGUMENT …]`.

For programs whose files are deleted when the machine stops. A seccomp filter answers the calls, so it also applies to
static programs and to all descendants. Where the kernel refuses the filter, the program runs without it.

This file is run by its path, without the packages of Swell: it starts in 10 ms.

Source: seccomp(2), https://man7.org/linux/man-pages/man2/seccomp.2.html
Source: Linux, Seccomp BPF, https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import ctypes
import os
import platform
import struct
import sys

_ARCHITECTURES = {  # AUDIT_ARCH_…, and the numbers of fsync, fdatasync, sync, syncfs, sync_file_range, msync
    "x86_64": (0xC000003E, (74, 75, 162, 306, 277, 26)),
    "aarch64": (0xC00000B7, (82, 83, 81, 267, 84, 227)),
}
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with the error 0
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4  # in `struct seccomp_data`
_PR_SET_SECCOMP, _FILTER = 22, 2  # linux/prctl.h, SECCOMP_MODE_FILTER


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def instructions(machine: str) -> bytes:
    """Return the BPF program for *machine*, a name of `uname -m`; empty for other machines."""
    if machine not in _ARCHITECTURES:
        return b""
    architecture, numbers = _ARCHITECTURES[machine]
    allow = len(numbers)  # the jump from the first test to the end
    code = [(_LOAD, 0, 0, _ARCHITECTURE_AT), (_EQUAL, 0, allow + 1, architecture), (_LOAD, 0, 0, _NUMBER_AT)]
    code += [(_EQUAL, allow - at, 0, number) for at, number in enumerate(numbers)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _SUCCEED)]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def main() -> None:
    """Install the filter and become the program."""
    code = instructions(platform.machine())
    if code:
        program = _Program(len(code) // 8, code)
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0)
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  (no shell is needed)


if __name__ == "__main__":
    main()
