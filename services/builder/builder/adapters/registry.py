"""Registry clients of the builder: their credentials come from its settings, their errors are build failures."""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp

from builder.adapters.retrying_push import RetryingPush
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from swell.errors import SwellError
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.user_credentials import UserCredentials
from swell.registry.push import RegistryPush
from swell.registry.responses import is_temporary
from swell.store.records import Reason


def registry_push(client: RegistryClient) -> RegistryPush:
    """Return a `RegistryPush` that repeats requests while the registry fails, for as long as the build may run.

    Its methods raise `BuildFailure` with `Reason.PUSH`.
    """
    return RetryingPush(client, _as_build_failure)


@contextmanager
def _as_build_failure(subject: str) -> Iterator[None]:
    try:
        yield
    except SwellError as error:
        message = f"The registry refused {subject}: {str(error).rstrip('.')}."
        raise BuildFailure(Reason.PUSH, message, is_temporary=is_temporary(error)) from error


def pusher(
    session: aiohttp.ClientSession, settings: EngineSettings, aws: AwsLogins, users: UserCredentials | None = None
) -> RegistryClient:
    """Return a client with the credentials of the operator and of *users* for pushing; the auth file is read once."""
    file, rules = settings.push_auth_file, settings.credential_rules
    keyring = parse_auth_file(file.read_bytes(), rules.may_push, users) if file else Keyring(users=users)
    insecure = frozenset(settings.insecure_registries)
    return RegistryClient(session, keyring, insecure, actions="pull,push", aws=aws)


def prober(
    session: aiohttp.ClientSession, settings: EngineSettings, users: UserCredentials | None = None
) -> RegistryClient:
    """Return a client without the operator's credentials; it can look up those of *users*."""
    return RegistryClient(session, Keyring(users=users), frozenset(settings.insecure_registries))
