"""The errors of the client."""

from msgspec import Struct


class SwellClientError(Exception):
    """An error of this client."""


class Unreachable(SwellClientError):
    """The server did not answer, after all attempts."""


class UnexpectedAnswer(SwellClientError):
    """The server answered something that is not Swell's API, such as a page of a proxy."""


class ErrorBody(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a server says about an error: what happened, who can fix it, what to do next."""

    message: str = ""
    code: str = ""
    side: str = ""
    next: str = ""
    request_id: str = ""


class RequestFailed(SwellClientError):
    """The server refused the request, or could not serve it.

    `status` is the HTTP status, `details` and `body` what the server says, `retry_after` the seconds that it names.
    """

    def __init__(self, status: int, details: ErrorBody, retry_after: float | None = None, body: str = "") -> None:
        super().__init__(details.message or f"the server answered with status {status}")
        self.status = status
        self.details = details
        self.retry_after = retry_after
        self.body = body


class NotDone(SwellClientError):
    """The image is not ready after the time to wait. The build continues."""


class BuildFailed(SwellClientError):
    """The build, mirror or required scan failed, or the build was cancelled.

    `reason` says why; `details_uri` is the address of the log.
    """

    def __init__(self, reason: str, details_uri: str = "") -> None:
        super().__init__(reason or "the build did not succeed")
        self.reason = reason
        self.details_uri = details_uri


class LogUnavailable(SwellClientError):
    """The log stream ended early, and could not be resumed."""
