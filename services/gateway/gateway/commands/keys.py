"""`python -m gateway.keys new --user NAME >> KEYS.TOML`: print a new API key, and its entry for the key file.

The entry goes to stdout and the key itself to stderr, so that the key is not written to the file.
"""

import argparse
import sys

import msgspec

from gateway.adapters.access.api_keys import ApiKey, hash_of, new_key
from gateway.domain.access.identity import Scope


def main() -> None:
    """Run the command; the exit code is 0, 1 for values that are not allowed in a key file, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m gateway.keys", description="Make API keys.")
    new = parser.add_subparsers(required=True).add_parser("new", help="make a key for a user")
    new.add_argument("--user", required=True, help="one name, without blanks; limits count for it")
    new.add_argument("--email", default="")
    new.add_argument("--org", default="", help="the organisation that usage is counted for")
    new.add_argument(
        "--scope",
        action="append",
        default=[],
        choices=[*Scope],
        help="what the key may do; all that users may, without one of theirs",
    )
    new.add_argument("--repository", action="append", default=[], help="limits the scopes to registry or registry/path")
    new.add_argument("--secret", action="append", default=[], help="name of a secret that its builds may use")
    arguments = parser.parse_args()
    key = new_key()
    fields = {
        "hash": hash_of(key),
        "user": arguments.user,
        "email": arguments.email,
        "organisation": arguments.org,
        "scopes": arguments.scope,
        "repositories": arguments.repository,
        "secrets": arguments.secret,
    }
    try:
        entry = entry_of(msgspec.convert(fields, ApiKey))
    except msgspec.ValidationError as error:
        sys.exit(f"no such entry can be made: {error}")
    sys.stderr.write(f"The key of {arguments.user}, shown this once: {key}\n")
    sys.stdout.write(entry)


def entry_of(key: ApiKey) -> str:
    """*key* as a TOML table; strings and lists of strings are written as JSON, and empty fields are left out."""
    lines = [
        f"{name} = {msgspec.json.encode(value).decode()}"
        for name, value in msgspec.structs.asdict(key).items()
        if value
    ]
    return "\n".join(["", "[[key]]", *lines, ""])


if __name__ == "__main__":
    main()
