"""`python -m builder.keyless.process`: sign the statements on standard input; see `builder.keyless.messages`."""

import os
import resource
import ssl
import sys
import tempfile
from pathlib import Path

import msgspec

from builder.keyless.messages import Done, Work
from swell.errors import Unavailable
from swell.settings import SettingsInvalid

MEMORY = 2 << 30
"""Bytes of addresses, so that an endless answer of a server ends only this process."""
CPU = 60  # seconds


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work)
    with tempfile.NamedTemporaryFile(suffix=".pem") as trusted:
        if work.ca_file:
            trusted.write(_certificates(Path(work.ca_file)))
            trusted.flush()
            os.environ["REQUESTS_CA_BUNDLE"] = trusted.name
        sys.stdout.buffer.write(msgspec.json.encode(_done(work)))


def _done(work: Work) -> Done:
    from swell.signing.keyless import Keyless  # noqa: PLC0415  (it takes a second, and the limits come first)

    try:
        keyless = Keyless(work.trusted_root, work.signing_config, work.token, work.audience)
        return Done(bundles=tuple(keyless.sign(work.statements)))
    except SettingsInvalid as error:
        return Done(failure=str(error), is_misconfigured=True)
    except Unavailable as error:
        return Done(failure=str(error))


def _certificates(ca_file: Path) -> bytes:
    """The certificates of the system, and those of *ca_file*: the library reads one file.

    Some systems have no file with all of theirs, but a directory.
    Source: OpenSSL, X509_LOOKUP_hash_dir(3), https://docs.openssl.org/3.0/man3/X509_LOOKUP_hash_dir/
    """
    system = ssl.get_default_verify_paths()
    if system.cafile:
        files = [Path(system.cafile)]
    else:
        files = sorted(Path(system.capath).glob("????????.[0-9]")) if system.capath else []
    return b"\n".join(path.read_bytes() for path in (*files, ca_file))


if __name__ == "__main__":
    main()
