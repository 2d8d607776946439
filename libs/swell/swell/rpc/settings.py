"""The settings of calls between services."""

from pathlib import Path

from msgspec import Struct

from swell.settings import SettingsInvalid, read


class RpcSettings(Struct, frozen=True, kw_only=True):
    """Each field is read from SWELL_RPC_<FIELD>; all services have the same values, apart from their certificates.

    - `token` is the shared secret of the services.
    - `certificate_file` and `certificate_key_file` (PEM) are this service's, `ca_file` the authority of all
      certificates. With these three, services accept only callers with a certificate of that authority, and encrypt.
    """

    token: str = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None

    @property
    def has_tls(self) -> bool:
        return any((self.ca_file, self.certificate_file, self.certificate_key_file))

    def files(self) -> tuple[bytes, bytes, bytes]:
        """Read the authority, the certificate and its key.

        Raises:
            SettingsInvalid: one of them is not set or cannot be read.
        """
        contents: list[bytes] = []
        for name in ("ca_file", "certificate_file", "certificate_key_file"):
            variable, path = f"SWELL_RPC_{name.upper()}", getattr(self, name)
            if path is None:
                raise SettingsInvalid(f"{variable} must be set, because another file of SWELL_RPC_ is")
            try:
                contents.append(path.read_bytes())
            except OSError as error:
                raise SettingsInvalid(f"{variable}: {path} cannot be read: {error.strerror}") from error
        authority, certificate, key = contents
        return authority, certificate, key


ON_LOOPBACK = RpcSettings()


class _Environment(Struct, frozen=True, kw_only=True):
    rpc: RpcSettings = ON_LOOPBACK


def of_environment() -> RpcSettings:
    """Return the settings of this process, for a probe of a service with the same environment."""
    return read(_Environment).rpc
