"""Errors of this machine, raised as failures of a build."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from builder.domain.failure import BuildFailure
from swell.store.records import Reason
from swell_sandbox import SandboxUnavailable


@contextmanager
def as_build_failure() -> Iterator[None]:
    """Raise `BuildFailure` for an error in the block with the builder's own files or with its sandboxes."""
    try:
        yield
    except SandboxUnavailable as error:
        raise BuildFailure(Reason.ENGINE, str(error)) from error
    except OSError as error:
        reason = Reason.DISK if error.errno in {errno.ENOSPC, errno.EDQUOT} else Reason.ENGINE
        raise BuildFailure(reason, f"The builder cannot write its files: {error.strerror}.") from error
