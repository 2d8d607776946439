"""What a service has understood of its settings, with secrets masked: `python -m SERVICE --check-settings`."""

import os
import re
from collections.abc import Iterator, Mapping
from functools import reduce

import msgspec

from swell.settings import settings_of

MASK = "***"
_SECRET = re.compile(r"(?:_keys?|_token|_password|_secret|_secrets)\Z")
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")


def lines(settings: msgspec.Struct, environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield a line for each field of *settings*: its variable, its value in JSON, and where it comes from.

    Secrets, and logins in URLs, are masked; an empty secret is shown as empty.
    """
    for variable, names, _, _ in settings_of(type(settings)):
        value: object = reduce(getattr, names, settings)
        source = "default"
        if environment.get(variable):
            source = "environment"
        elif path := environment.get(f"{variable}_FILE"):
            source = f"file {path}"
        is_masked = _SECRET.search("_".join(names)) and value
        text = f'"{MASK}"' if is_masked else msgspec.json.encode(value, enc_hook=str, order="sorted").decode()
        yield f"{variable}={_LOGIN.sub(f'{MASK}@', text)} ({source})"
