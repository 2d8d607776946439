"""Exit codes, and the words for errors on the terminal."""

from enum import IntEnum

from swell_client.errors import (
    BuildFailed,
    LogUnavailable,
    NotDone,
    RequestFailed,
    SwellClientError,
    UnexpectedAnswer,
    Unreachable,
)


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    """The build, copy or scan failed, or a check of `swell doctor`."""
    USAGE = 2
    """The command line is wrong, or a local file cannot be used."""
    REFUSED = 3
    """The server refused the request."""
    UNAVAILABLE = 4
    """The server did not answer, or could not serve the request."""
    NOT_DONE = 5
    """The image is not ready after `--timeout`; the build continues."""
    INTERRUPTED = 130


def exit_code(error: SwellClientError) -> Exit:
    match error:
        case BuildFailed():
            return Exit.FAILED
        case NotDone():
            return Exit.NOT_DONE
        case RequestFailed(status=status) if 400 <= status < 500 and status != 429:
            return Exit.REFUSED
        case RequestFailed() | Unreachable() | UnexpectedAnswer() | LogUnavailable():
            return Exit.UNAVAILABLE
    return Exit.USAGE


def describe(error: SwellClientError) -> str:
    """What happened, and below it what to do next, if it is known."""
    lines = [str(error)]
    match error:
        case RequestFailed(details=details):
            lines += [details.next] if details.next else []
            lines += [f"request id: {details.request_id}"] if details.request_id and error.status >= 500 else []
        case BuildFailed(details_uri=uri) if uri:
            lines.append(f"log: {uri}")
        case Unreachable():
            lines.append("Check the address (SWELL_URL, --url, 'swell config'), or run 'swell doctor'.")
    return "\n".join(lines)
