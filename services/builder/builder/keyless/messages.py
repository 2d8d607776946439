"""What the builder and the process that signs exchange: JSON on standard input and output."""

from msgspec import Struct

from swell.signing.statements import Unsigned


class Work(Struct, frozen=True, kw_only=True):
    """Statements to sign; without any, only the configuration is checked. `ca_file` is a path, or empty."""

    trusted_root: bytes
    signing_config: bytes
    token: str
    audience: str
    ca_file: str = ""
    statements: tuple[Unsigned, ...] = ()


class Done(Struct, frozen=True, kw_only=True):
    """The bundles in the order of the statements; or what failed, and whether the configuration cannot be used."""

    bundles: tuple[bytes, ...] = ()
    failure: str = ""
    is_misconfigured: bool = False
