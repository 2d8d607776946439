"""Where the server is, and who the client is: arguments, then the variables of Swell, then those of Wave's clients."""

import os
from collections.abc import Mapping

DEFAULT_URL = "http://localhost:9090"

URL_VARIABLES = ("SWELL_URL", "WAVE_ENDPOINT")
TOKEN_VARIABLES = ("SWELL_TOKEN", "TOWER_ACCESS_TOKEN")


def first_of(names: tuple[str, ...], environment: Mapping[str, str] | None = None) -> str:
    """The value of the first of the variables *names* that is not empty; empty if all are."""
    values = os.environ if environment is None else environment
    return next(filter(None, (values.get(name, "") for name in names)), "")
