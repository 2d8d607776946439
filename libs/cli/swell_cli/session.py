"""What every command has: the server, the client, the format of its output, and the way it ends."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from swell_cli.config import Server, resolve
from swell_cli.output import Format, Result, printable, show

if TYPE_CHECKING:
    from swell_client import Client

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """The options that every command has."""

    def __init__(self, url: str | None, profile: str | None, output: str | None) -> None:
        self._url, self._profile = url, profile
        self.format = Format(output) if output else None
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        if self._server is None:
            self._server = resolve(self._url, self._profile)
        return self._server

    def client(self, attempts: int | None = None) -> "Client":
        """A client of the server, which sends a request at most *attempts* times; close it."""
        from swell_client import Client, RetryPolicy  # noqa: PLC0415 - takes time to import

        retry = RetryPolicy(attempts=attempts) if attempts else None
        return Client(self.server.url.value, token=self.server.token.value, user_agent=agent(), retry=retry)

    def show(self, result: Result, default: Format = Format.TABLE) -> None:
        show(result, self.format or default)


def agent() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - takes time to import

    return f"swell-cli/{version('swell-cli')}"


def common(function: F) -> F:
    """Add the options of every command, and pass a `Session`; errors of the client become messages and exit codes."""

    @click.option("--url", metavar="URL", help="Address of the server.  [SWELL_URL, WAVE_ENDPOINT, profile]")
    @click.option("--profile", metavar="NAME", help="Profile of the config file.  [SWELL_PROFILE]")
    @click.option(
        "-o",
        "--output",
        type=click.Choice([each.value for each in Format]),
        help="Format of the result. Without it, a table or text for people.",
    )
    @wraps(function)
    def run(url: str | None, profile: str | None, output: str | None, **options: Any) -> None:
        guarded(lambda: function(Session(url, profile, output), **options))

    return run  # type: ignore[return-value]  # with more options


def guarded(action: Callable[[], object]) -> None:
    """Call *action*; an error of the client ends the program with a message and its exit code."""
    from swell_cli.exits import Exit, describe, exit_code  # noqa: PLC0415 - takes time to import
    from swell_client.errors import SwellClientError  # noqa: PLC0415
    from swell_client.packing import PackError  # noqa: PLC0415

    try:
        action()
    except SwellClientError as error:
        fail(describe(error), exit_code(error))
    except KeyboardInterrupt:
        fail("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), Exit.USAGE)
    except PackError as error:
        fail(str(error), Exit.USAGE)


def fail(message: str, code: int) -> NoReturn:
    """Print *message* on stderr and exit with *code*."""
    first, *rest = message.splitlines() or [""]
    click.echo(click.style("error: ", fg="red") + printable(first), err=True, color=colors(sys.stderr))
    for line in rest:
        click.echo(f"  {printable(line)}", err=True)
    sys.exit(code)


def colors(stream: Any) -> bool:
    """Whether *stream* shows colours. `NO_COLOR` switches them off, see https://no-color.org."""
    import os  # noqa: PLC0415

    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
