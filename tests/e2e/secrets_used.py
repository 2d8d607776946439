"""The secrets that tests have used, and a search for them in all that a stack has stored and logged.

Each secret is registered once: constants with `secret`, and what a test sends or gets by `secrets_of_request` and
`secrets_of_answer`, which the clients of the tests call. When a stack closes, `search` looks for all of them.
"""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from swell_embedded.stack import Stack
from tests.e2e.places import OWN_FILES, OWN_FOLDERS, Place, forms_of, found_in, in_redis, in_s3

SHORTEST = 12  # characters: a shorter text is found by accident
MOST = 2_000  # secrets of one process
_MEMBERS = ("towerAccessToken", "towerRefreshToken", "password", "currentPassword")
_ANSWERED = ("key", "password", "secret", "csrfToken")
_PUBLIC = re.compile(r"[a-z0-9]{12,26}|(.)\1*")
"""Tokens of containers, whose names are in the store, and texts of one character."""
_LOG_BYTES = 64 << 20

_used: dict[str, str] = {}
found: list[str] = []
"""What the searches of this process have found; the fixture `no_secret_left` fails with it."""


def secret(name: str, value: str) -> str:
    """Register the secret *value*, unless it is too short or of public form, and return it."""
    if len(value) >= SHORTEST and not _PUBLIC.fullmatch(value) and len(_used) < MOST:
        _used.setdefault(value, name)
    return value


def secrets_of_request(path: str, body: Any, headers: Mapping[str, str]) -> None:
    """Register the tokens and passwords in a request."""
    scheme, _, value = headers.get("Authorization", "").partition(" ")
    secret(f"{scheme} of {path}", value)
    if isinstance(body, dict):
        for name in _MEMBERS:
            if isinstance(text := body.get(name), str):
                secret(f"{name} of {path}", text)


def secrets_of_answer(path: str, answer: Any) -> None:
    """Register what the server has made and shows once: keys, passwords and secrets of webhooks."""
    if isinstance(answer, dict):
        for name in _ANSWERED:
            if isinstance(value := answer.get(name), str):
                secret(f"{name} in the answer of {path}", value.removeprefix("whsec_"))


@asynccontextmanager
async def searched(stack: Stack, home: Path) -> AsyncIterator[Stack]:
    """Yield *stack*; then write what Redis and S3 have into a folder, and search it."""
    try:
        yield stack
    finally:
        with TemporaryDirectory() as folder:
            try:
                places = [each async for each in in_redis(stack)] + await in_s3(stack)
            except Exception:  # noqa: BLE001  a test has stopped a backend: the files are searched nevertheless
                places = []
            written = _write(Path(folder), places)
            found.extend(f"{home.name}: {hit}" for hit in await asyncio.to_thread(search, Path(folder), written))


def _write(folder: Path, places: list[Place]) -> dict[str, str]:
    """Write each of *places* into a file of *folder*; return the names by file."""
    names = {}
    for number, (name, content) in enumerate(places):
        (folder / str(number)).write_bytes(content)
        names[str(number)] = name
    return names


def search(folder: Path, names: Mapping[str, str] = {}, secrets: Mapping[str, str] | None = None) -> list[str]:
    """Return `<secret> in <place>` for each registered secret in a file below *folder*; *names* are those of places.

    `grep` reads gigabytes for hundreds of patterns in a second; only the files that it finds are read in detail.
    """
    used = {name: value for value, name in _used.items()} if secrets is None else dict(secrets)
    if not used:
        return []
    patterns = b"\n".join(sorted({form for value in used.values() for form in forms_of(value)}))
    skipped = [*(f"--exclude-dir={name}" for name in OWN_FOLDERS), *(f"--exclude={name}" for name in OWN_FILES)]
    command = ["grep", "-r", "-l", "-Z", "-F", "-D", "skip", *skipped, "-f", "-", "--", str(folder)]
    result = subprocess.run(command, input=patterns, capture_output=True, check=False, env=os.environ | {"LC_ALL": "C"})
    paths = [Path(os.fsdecode(path)) for path in result.stdout.split(b"\0") if path]
    named = ((path, names.get(path.name) or str(path.relative_to(folder))) for path in paths)
    places = [(name, path.read_bytes()[:_LOG_BYTES]) for path, name in named if path.is_file()]
    return [hit for place in places for hit in found_in([place], used)]
