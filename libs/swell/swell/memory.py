"""Memory of this process that it no longer uses."""

import ctypes


def return_freed() -> None:
    """Return memory that was freed to the system, where the C library can do that (glibc).

    Imports read and free large files between objects that stay, so the C library keeps these pages: 6 to 11 MB of a
    service. Source: malloc_trim(3), https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
