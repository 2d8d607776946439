"""Authorization: which secrets of the operator the builds of an identity may use."""

from collections.abc import Iterable

from gateway.domain.access.identity import Identity
from swell.errors import ScopeRequired


def check_secrets(names: Iterable[str], identity: Identity) -> None:
    """Check that builds of *identity* may use the secrets *names*; whether they exist is for the builder to say.

    Raises:
        ScopeRequired: one of them is not among the secrets of the API key.
    """
    if refused := sorted(set(names) - identity.secrets):
        raise ScopeRequired(
            f"builds of this client may not use the secret {refused[0]}: an API key needs it in its `secrets`, and the "
            "operator issues such keys"
        )
