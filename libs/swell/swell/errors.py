"""The error tree, with the names of the OCI distribution specification and of Wave's API.

Inner code raises a class; each edge (HTTP, gRPC, NATS) translates it once. The class has `code` and `status` for the
response, `side` for who can fix the error, and `advice` for what to do next, if the message does not say it.
"""

from enum import StrEnum
from typing import ClassVar


class Side(StrEnum):
    """Who can fix the error: the client, the upstream registry, or the operator of this server."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    SERVER = "server"


class SwellError(Exception):
    """An internal error of this server.

    `str(error)` of this class and its subclasses is shown to clients. `retry_after` is in seconds, if waiting helps.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    side: ClassVar[Side] = Side.SERVER
    advice: ClassVar[str] = "Try again. If it happens again, report the request id to the operator."

    def __init__(self, message: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(message or type(self).summary())
        self.retry_after = retry_after

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring: what happened, in one sentence."""
        return (cls.__doc__ or cls.code).strip().splitlines()[0]


class BadRequest(SwellError):
    """The request is not valid."""

    code, status, side = "BAD_REQUEST", 400, Side.CLIENT
    advice = ""  # the message says what to change


class Unauthorized(SwellError):
    """The access token is missing or unknown."""

    code, status, side = "UNAUTHORIZED", 401, Side.CLIENT
    advice = "Send an access token of this server as towerAccessToken. The operator issues access tokens."


class TokenInvalid(Unauthorized):
    """The access token is not valid, or has expired."""

    advice = "Get a new token from its issuer, for this server as its audience."


class SignInFailed(SwellError):
    """The sign-in was not completed."""

    code, status, side = "SIGN_IN_FAILED", 403, Side.CLIENT
    advice = "Sign in again. If it fails again, ask the operator whether you may use this server."


class EndpointUnpaired(SwellError):
    """The access token is unknown, and the Seqera Platform at its endpoint is not paired with this server."""

    code, status, side = "ENDPOINT_UNPAIRED", 400, Side.CLIENT
    advice = "Send an access token of this server, or none. The operator issues access tokens."


class PlatformDenied(Unauthorized):
    """The Seqera Platform does not accept the access token."""

    advice = "Send a current access token of the Platform at towerEndpoint as towerAccessToken."


class SessionExpired(SwellError):
    """The Seqera Platform does not renew the session of the access token."""

    code, status, side = "SESSION_EXPIRED", 412, Side.CLIENT
    advice = "Sign in to the Platform again, or send a new access token."


class AccountRequired(SwellError):
    """This operation needs the name and password of an operator's account."""

    code, status, side = "UNAUTHORIZED", 401, Side.CLIENT
    advice = "Send them as HTTP Basic authentication, or a bearer token that may administer. The operator manages both."


class NotSupported(SwellError):
    """This server does not support the operation."""

    code, status, side = "UNSUPPORTED", 501, Side.SERVER
    advice = "Remove that part of the request, or ask the operator to enable it."


class PlatformUnsupported(NotSupported):
    """No builder of this server can run steps for the platform."""

    advice = (
        "Request another platform, or ask the operator to add what is missing. "
        "A Dockerfile without RUN works for every platform, and so do packages with the template conda/direct:v1."
    )


class ImageUnsupported(SwellError):
    """Images of this format are not supported."""

    code, status, side = "UNSUPPORTED", 400, Side.CLIENT
    advice = "Use an image of a current format, or request this one without additions."


class NotFound(SwellError):
    """The requested object does not exist."""

    code, status, side = "NOT_FOUND", 404, Side.CLIENT
    advice = "Check the id. Records expire."


class PlatformNotFound(NotFound):
    """The Seqera Platform does not have the requested object."""

    advice = "Check towerWorkspaceId and workflowId."


class TooLarge(SwellError):
    """The request is larger than the limit."""

    code, status, side = "SIZE_INVALID", 413, Side.CLIENT
    advice = "Send less data, or a URL instead of the data."


class RequestSlow(SwellError):
    """The request was not complete in time."""

    code, status, side = "TIMEOUT", 408, Side.CLIENT
    advice = "Send the request again."


class MediaTypeUnsupported(SwellError):
    """The Content-Type of the request is not JSON."""

    code, status, side = "UNSUPPORTED", 415, Side.CLIENT
    advice = "Send JSON, with the header Content-Type: application/json."


class NameUnknown(SwellError):
    """The token is unknown or has expired."""

    code, status, side = "NAME_UNKNOWN", 404, Side.CLIENT
    advice = "Request the container again to get a new image name."


class NameInvalid(SwellError):
    """The path does not name an image."""

    code, status, side = "NAME_INVALID", 404, Side.CLIENT
    advice = "Pull the image name exactly as in the response."


class DigestInvalid(SwellError):
    """The digest is invalid, or does not match the content."""

    code, status, side = "DIGEST_INVALID", 400, Side.CLIENT
    advice = "Compare the declared digest and size with the content."


class ManifestUnknown(SwellError):
    """The registry does not have this tag or digest."""

    code, status, side = "MANIFEST_UNKNOWN", 404, Side.CLIENT
    advice = "Check the image's name and tag."


class ManifestInvalid(SwellError):
    """The image's manifest or config cannot be used."""

    code, status, side = "MANIFEST_INVALID", 502, Side.UPSTREAM
    advice = "Push the image again with a current tool, or use another one."


class BlobUnknown(SwellError):
    """The image does not have this blob."""

    code, status, side = "BLOB_UNKNOWN", 404, Side.CLIENT
    advice = "Pull the whole image again."


class RangeInvalid(SwellError):
    """The requested range is outside of the blob."""

    code, status, side = "RANGE_INVALID", 416, Side.CLIENT
    advice = "Request a range within the size in Content-Range, or the complete blob."


class Denied(SwellError):
    """The registry refuses access to the image."""

    code, status, side = "DENIED", 403, Side.CLIENT
    advice = (
        "Check the image's name. A private image needs credentials of the operator for its registry, and "
        "either an entry in SWELL_SHARED_REGISTRIES or an API key with the scope operator-pull."
    )


class ScanDenied(SwellError):
    """The required scan of the image does not allow it."""

    code, status, side = "DENIED", 403, Side.CLIENT
    advice = "Read the scan. Request an image without these vulnerabilities, or allow their severities in scanLevels."


class ScopeRequired(SwellError):
    """The operation needs an API key with another scope."""

    code, status, side = "SCOPE_REQUIRED", 403, Side.CLIENT
    advice = "Send an API key with the scope in the message. The operator issues API keys."


class NotYours(SwellError):
    """Only the client that sent the request, or the operator, may do this."""

    code, status, side = "FORBIDDEN", 403, Side.CLIENT
    advice = "Send the requestId of your response, or the access token of your request."


class PolicyDenied(SwellError):
    """A rule of this server's policy does not allow the request."""

    code, status, side = "POLICY_DENIED", 403, Side.CLIENT
    advice = ""  # the message names the rule and who can change it


class NotReadable(SwellError):
    """Only some clients may read this record."""

    code, status, side = "FORBIDDEN", 403, Side.CLIENT
    advice = "Send the access token of a client that has requested it."


class BuildEnded(SwellError):
    """The build has ended already."""

    code, status, side = "CONFLICT", 409, Side.CLIENT
    advice = "Read its result. It cannot be cancelled any more."


class AddressForbidden(SwellError):
    """This server must not connect to the address."""

    code, status, side = "ADDRESS_FORBIDDEN", 400, Side.CLIENT
    advice = "Use a public address, or ask the operator to allow the host."


class TooManyRequests(SwellError):
    """The limit of requests is reached."""

    code, status, side = "TOOMANYREQUESTS", 429, Side.CLIENT
    advice = "Wait for the time in Retry-After."


class BuildFailed(SwellError):
    """The build of the image failed."""

    code, status, side = "MANIFEST_UNKNOWN", 404, Side.CLIENT
    advice = "Read the build's log, change the container file and submit it again."


class UpstreamFailed(SwellError):
    """The upstream sent an invalid response, or none."""

    code, status, side = "UPSTREAM_FAILED", 502, Side.UPSTREAM
    advice = "Try again. If it happens again, check the server that the message names."
    host: str | None = None
    """The `host:port` that failed, if a redirect led to another host. It is not sent over gRPC."""
    answer: int | None = None
    """The HTTP status of the upstream, if it answered with an error. It is not sent over gRPC."""


class DigestMismatch(UpstreamFailed):
    """The upstream sent bytes with another digest."""


class UpstreamBroken(UpstreamFailed):
    """The upstream cannot be reached, or its response was incomplete."""


class UpstreamSlow(UpstreamFailed):
    """The upstream did not respond in time."""

    code, status, side = "UPSTREAM_FAILED", 504, Side.UPSTREAM
    advice = "Try again in some minutes. If it happens again, check the server that the message names."


class UpstreamDown(UpstreamFailed):
    """The upstream has failed repeatedly and gets no requests for some seconds."""

    code, status, side = "UPSTREAM_FAILED", 503, Side.UPSTREAM
    advice = "Wait for the time in Retry-After."


class PlatformFailed(SwellError):
    """The Seqera Platform sent an invalid answer or an error."""

    code, status, side = "PLATFORM_FAILED", 502, Side.UPSTREAM
    advice = "Try again in a moment. If it happens again, report it to the operator of the Platform."


class PlatformSlow(PlatformFailed):
    """The Seqera Platform did not answer in time."""

    status = 504


class Unavailable(SwellError):
    """A part of this server is unavailable."""

    code, status, side = "UNAVAILABLE", 503, Side.SERVER
    advice = "Try again in a moment."

    def __init__(self, message: str = "", *, retry_after: int | None = 2) -> None:
        super().__init__(message, retry_after=retry_after)


class DecryptionFailed(SwellError):
    """A stored secret cannot be decrypted."""

    advice = "Ask the operator to check SWELL_ENCRYPTION_KEYS: it may lack the key of this secret."


class PlatformUnreachable(Unavailable):
    """The Seqera Platform is not connected to this server at the moment."""

    side = Side.UPSTREAM
    advice = "Try again in a moment. If it happens again, the operator of the Platform can check its connection."


class SpoolFull(Unavailable):
    """The spool, which stores blobs that are being sent, is full."""


def every_class() -> list[type[SwellError]]:
    """Return all classes of the tree, depth first, so that an edge can find a class by its name."""
    classes, waiting = [], [SwellError]
    while waiting:
        cls = waiting.pop()
        classes.append(cls)
        waiting += reversed(cls.__subclasses__())
    return classes
