"""The keyless notary: it starts a process for each image, and stores bundles before they are attached.

Each new signature has a certificate of its own, so a repeated attempt must find the bundles of an earlier one.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from builder.adapters.proxy_environment import proxies_of
from builder.keyless.messages import Done, Work
from builder.settings import SigningSettings
from swell.errors import Unavailable
from swell.settings import SettingsInvalid
from swell.signing.bundles import MAX_BUNDLE, stored_bundle
from swell.signing.keys import TrustedKeys
from swell.signing.statements import BUNDLE, Unsigned

PROCESSES = 2
"""At once; each needs about 100 MB of memory for a second or two."""
TIMEOUT = timedelta(seconds=90)
MOST_OUTPUT = 8 * MAX_BUNDLE
MOST_TOKEN = 64 << 10
MOST_CONFIG = 4 << 20


class Store(Protocol):
    async def get(self, key: str) -> bytes | None: ...

    async def put(self, key: str, content: bytes, content_type: str) -> None: ...


class KeylessNotary:
    """Signs as the identity of the token in the file of the settings, which is read for each image.

    Bundles are stored in *store*. Those that one of *keys* has signed stay valid.
    """

    def __init__(
        self, settings: SigningSettings, store: Store, keys: TrustedKeys, timeout: timedelta = TIMEOUT
    ) -> None:
        self._settings = settings
        self._store = store
        self._keys = keys
        self._timeout = timeout.total_seconds()
        self._slots = asyncio.Semaphore(PROCESSES)

    async def check(self) -> None:
        """Read the files of the settings as for a signature.

        Raises:
            SettingsInvalid: one is missing, or cannot be used.
        """
        try:
            await self._run(())
        except Unavailable as error:
            raise SettingsInvalid(f"SWELL_SIGN=keyless cannot work: {error}") from error

    async def sign(self, statements: Sequence[Unsigned]) -> Sequence[bytes]:
        known = [stored_bundle(each, self._keys) for each in statements]
        open_ = [await self._with_earlier(each) for each, bundle in zip(statements, known, strict=True) if not bundle]
        if not open_:
            return [bundle for bundle in known if bundle]
        try:
            signed = await self._run(tuple(open_))
        except SettingsInvalid as error:
            raise Unavailable(str(error)) from error  # a file was changed; it may be repaired
        for statement, bundle in zip(open_, signed, strict=True):
            if bundle != statement.stored:
                await self._store.put(_key(statement), bundle, BUNDLE)
        rest = iter(signed)
        return [bundle or next(rest) for bundle in known]

    async def _with_earlier(self, statement: Unsigned) -> Unsigned:
        """Return *statement* with the bundle of an attempt that attached or stored nothing else."""
        earlier = await self._store.get(_key(statement))
        return replace(statement, stored=earlier or statement.stored)

    async def _run(self, statements: tuple[Unsigned, ...]) -> tuple[bytes, ...]:
        work = self._work(statements)
        async with self._slots:
            done = await _answer(work, _environment(self._settings), self._timeout)
        if done.is_misconfigured:
            raise SettingsInvalid(f"SWELL_SIGN=keyless cannot work: {done.failure}")
        if done.failure:
            raise Unavailable(done.failure)
        if len(done.bundles) != len(statements):
            raise Unavailable("the process that signs returned something else")
        return done.bundles

    def _work(self, statements: tuple[Unsigned, ...]) -> Work:
        settings = self._settings
        token = _read("SWELL_KEYLESS_TOKEN_FILE", settings.keyless_token_file, MOST_TOKEN)
        try:
            text = token.decode("ascii")
        except UnicodeDecodeError as error:
            raise SettingsInvalid("SWELL_KEYLESS_TOKEN_FILE: it has no token") from error
        return Work(
            trusted_root=_read("SWELL_KEYLESS_TRUSTED_ROOT_FILE", settings.keyless_trusted_root_file, MOST_CONFIG),
            signing_config=_read(
                "SWELL_KEYLESS_SIGNING_CONFIG_FILE", settings.keyless_signing_config_file, MOST_CONFIG
            ),
            token=text,
            audience=settings.keyless_audience,
            ca_file=str(settings.ca_file or ""),
            statements=statements,
        )


async def _answer(work: Work, environment: Mapping[str, str], seconds: float) -> Done:
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "builder.keyless.process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:  # too many processes, or no memory: later there may be some
        raise Unavailable(f"the process that signs cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            output = await _exchange(process, msgspec.json.encode(work))
            status = await process.wait()
    except TimeoutError as error:
        raise Unavailable(f"signing took more than {seconds:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(output, type=Done)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"the process that signs ended with {status}") from error


async def _exchange(process: asyncio.subprocess.Process, work: bytes) -> bytes:
    """Send *work*, and return what the process writes; raises `Unavailable` if that is too long."""
    assert process.stdin is not None  # noqa: S101  (both are pipes)
    assert process.stdout is not None  # noqa: S101
    try:
        process.stdin.write(work)
        await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return b""  # it ended; its status says how
    output = bytearray()
    while piece := await process.stdout.read(1 << 16):
        output += piece
        if len(output) > MOST_OUTPUT:
            raise Unavailable(f"the bundles have more than {MOST_OUTPUT} bytes")
    return bytes(output)


def _environment(settings: SigningSettings) -> dict[str, str]:
    """The proxies of the settings, and nothing else that this process has in its environment."""
    names = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR")
    return {name: os.environ[name] for name in names if name in os.environ} | proxies_of(settings)


def _read(variable: str, path: Path | None, most: int) -> bytes:
    if path is None:
        raise SettingsInvalid(f"SWELL_SIGN=keyless needs {variable}")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise SettingsInvalid(f"{variable}: {path} cannot be read: {error.strerror}") from error
    if not content.strip() or len(content) > most:
        raise SettingsInvalid(f"{variable}: {path} is empty, or has more than {most} bytes")
    return content


def _key(statement: Unsigned) -> str:
    """The key of the bundle of *statement* in the bucket swell-logs; equal statements have the same one."""
    return f"keyless/{sha256(statement.content).hexdigest()}.sigstore.json"
