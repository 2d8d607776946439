"""The secrets in the settings of the builder, which are masked in logs."""

from collections.abc import Iterable

from builder.domain.secrets import Masker, secrets_of, secrets_of_url
from builder.settings import EngineSettings


def read_secrets(settings: EngineSettings, of_build: Iterable[bytes] = ()) -> Masker:
    """Return a masker of the secrets *of_build*, in *settings* and in the current auth files, which may be missing.

    Raises:
        OSError: an auth file cannot be read, so that no log may be written.
    """
    keys = (settings.aws_secret_access_key, settings.aws_session_token)
    secrets = {key.encode() for key in keys if key}.union(*map(secrets_of_url, settings.proxies))
    for path in (settings.pull_auth_file, settings.push_auth_file):
        if path and path.exists():
            secrets |= secrets_of(path.read_bytes())
    return Masker(secrets.union(of_build))
