"""The settings of the connection to NATS."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct


class NatsSettings(Struct, frozen=True, kw_only=True):
    """Each field is read from SWELL_NATS_<FIELD>.

    - `url` has the servers, separated by commas: `nats://user:password@host:4222`, with escapes (`%40`) in user and
      password; `tls://` refuses servers without TLS.
    - Each stream has at least `replicas` copies; one that has more keeps them.
    - `credentials_file` (`.creds`) has a JWT and the seed of its key; `nkey_seed_file` only a seed. Both are read at
      each connection.
    - `certificate_file` and `certificate_key_file` (PEM) are the client's.
    """

    url: str
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    credentials_file: Path | None = None
    nkey_seed_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
