"""The part of a body that a response contains.

Source: RFC 9110, 14.4 "Content-Range", https://www.rfc-editor.org/rfc/rfc9110#section-14.4
"""

import re


def parse_content_range(text: str) -> tuple[int, int | None] | None:
    """Parse a `Content-Range` into start and total size; a size of None is unknown, None is an invalid header."""
    match = re.fullmatch(r"bytes ([0-9]{1,19})-[0-9]{1,19}/([0-9]{1,19}|\*)", text, re.ASCII)
    if match is None:
        return None
    return int(match[1]), None if match[2] == "*" else int(match[2])
