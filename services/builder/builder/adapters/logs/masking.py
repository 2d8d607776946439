"""What must be in no log: the secrets that the builder is told."""

from builder.domain.secrets import Masker, secrets_of, secrets_of_url
from builder.settings import EngineSettings


def read_secrets(settings: EngineSettings) -> Masker:
    """Masks the secrets that *settings* tell, and what is in the auth files now; one that is not there has none.

    Raises:
        OSError: one cannot be read, and then nothing may be told.
    """
    keys = (settings.aws_secret_access_key, settings.aws_session_token)
    found = {key.encode() for key in keys if key}.union(*map(secrets_of_url, settings.proxies))
    for path in (settings.pull_auth_file, settings.push_auth_file):
        if path and path.exists():
            found |= secrets_of(path.read_bytes())
    return Masker(found)
