"""`python -m gateway.keys new --user NAME >> KEYS.TOML`: a new API key, and the entry that makes this server know it.

The key itself goes to stderr, so that it never stands in the file.
"""

import argparse
import sys

import msgspec

from gateway.adapters.api_keys import ApiKey, Scope, hash_of, new_key


def main() -> None:
    """Exit code 0; 1 when the names cannot stand in a file of keys, 2 when they are missing."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="Make API keys.")
    new = parser.add_subparsers(required=True).add_parser("new", help="make a key for a user")
    new.add_argument("--user", required=True, help="one name, without blanks; limits count for it")
    new.add_argument("--email", default="")
    new.add_argument("--org", default="", help="the organisation that usage is counted for")
    new.add_argument(
        "--scope", action="append", default=[], choices=[*Scope], help="what the operator's credentials do"
    )
    new.add_argument("--repository", action="append", default=[], help="limits the scopes to registry or registry/path")
    told = parser.parse_args()
    key = new_key()
    fields = {
        "hash": hash_of(key),
        "user": told.user,
        "email": told.email,
        "organisation": told.org,
        "scopes": told.scope,
        "repositories": told.repository,
    }
    try:
        entry = entry_of(msgspec.convert(fields, ApiKey))
    except msgspec.ValidationError as error:
        sys.exit(f"no such entry can be made: {error}")
    sys.stderr.write(f"The key of {told.user}, shown this once: {key}\n")
    sys.stdout.write(entry)


def entry_of(key: ApiKey) -> str:
    """*key* in TOML, whose strings and lists of strings are JSON's; what is empty is left out."""
    lines = [
        f"{name} = {msgspec.json.encode(value).decode()}"
        for name, value in msgspec.structs.asdict(key).items()
        if value
    ]
    return "\n".join(["", "[[key]]", *lines, ""])


if __name__ == "__main__":
    main()
