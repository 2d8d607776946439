"""Values in instructions."""

import re

from swell.errors import BadRequest


def quote_value(name: str, value: str) -> str:
    """Return *value* as one word of an instruction, without variable expansion; *name* is for the message.

    Raises:
        BadRequest: it has a line break or a NUL character.
    """
    return '"' + re.sub(r'(["\\$])', r"\\\1", one_line(name, value)) + '"'


def one_line(name: str, value: str) -> str:
    """Return *value*; raise `BadRequest` if it has a line break or a NUL character."""
    if re.search(r"[\n\r\0]", value):
        raise BadRequest(f"{name} has a line break, which freeze cannot keep")
    return value
