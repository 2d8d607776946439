"""How many values a JSON text of a stranger may have.

Each value that is decoded without a type becomes an object of Python: `[],` has 3 bytes, and its list 64. While a text
is decoded, no other thread of the process runs.
"""

_PIECE = 1 << 20


def has_more_values(content: bytes, most: int) -> bool:
    """Whether the JSON *content* may have more than *most* values. Commas and brackets in texts count as well."""
    found = 0
    for start in range(0, len(content), _PIECE) if len(content) > most else ():
        piece = content[start : start + _PIECE]
        found += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if found > most:
            return True
    return False
