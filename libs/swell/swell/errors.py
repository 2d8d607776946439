"""The error tree: what can go wrong, in the words of the OCI distribution spec and of Wave's API.

Deep code raises the class that says what happened; each edge (HTTP, gRPC, NATS) translates once. The class carries all
that an edge needs: `code` and `status` for the wire, `side` for whose turn it is, `advice` for what to do next.
"""

from enum import StrEnum
from typing import ClassVar


class Side(StrEnum):
    """Who can mend it: whoever asked, the upstream they named, or the operator of this server."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    SERVER = "server"


class SwellError(Exception):
    """Something went wrong on our side.

    `str(error)` of it and of all below it is fit for the client's eyes; `retry_after` is in seconds, where waiting
    helps.
    """

    code: ClassVar[str] = "UNKNOWN"
    status: ClassVar[int] = 500
    side: ClassVar[Side] = Side.SERVER
    advice: ClassVar[str] = "Try again; if it stays, tell the operator the request id."

    def __init__(self, message: str = "", *, retry_after: int | None = None) -> None:
        super().__init__(message or type(self).summary())
        self.retry_after = retry_after

    @classmethod
    def summary(cls) -> str:
        """The first line of the class's docstring: what happened, in one sentence."""
        return (cls.__doc__ or cls.code).strip().splitlines()[0]


class BadRequest(SwellError):
    """The request cannot be understood as it is."""

    code, status, side = "BAD_REQUEST", 400, Side.CLIENT
    advice = "Change the request as the message says."


class Unauthorized(SwellError):
    """This server does not know who you are."""

    code, status, side = "UNAUTHORIZED", 401, Side.CLIENT
    advice = "Send an access token that this server knows, as towerAccessToken; the operator gives them out."


class EndpointUnpaired(SwellError):
    """The access token is none of this server's, and the Platform that may have given it is not paired with it."""

    code, status, side = "ENDPOINT_UNPAIRED", 400, Side.CLIENT
    advice = "Send an access token that this server knows, or none; the operator gives them out."


class AccountRequired(SwellError):
    """This needs the name and the password of an account."""

    code, status, side = "UNAUTHORIZED", 401, Side.CLIENT
    advice = "Send them as HTTP Basic authentication; the operator keeps the accounts."


class NotSupported(SwellError):
    """This server does not do that."""

    code, status, side = "UNSUPPORTED", 501, Side.SERVER
    advice = "Leave that part out of the request, or ask the operator to switch it on."


class PlatformUnsupported(NotSupported):
    """No builder of this server can run the steps of a build for that platform."""

    advice = (
        "Ask for another platform, or ask the operator to add what is lacking. "
        "A Dockerfile without RUN needs none of it, nor do packages with the template conda/direct:v1."
    )


class ImageUnsupported(SwellError):
    """Nothing can be done with an image of that kind."""

    code, status, side = "UNSUPPORTED", 400, Side.CLIENT
    advice = "Use a container image of a current format, or ask for this one without additions."


class NotFound(SwellError):
    """There is no such thing here."""

    code, status, side = "NOT_FOUND", 404, Side.CLIENT
    advice = "Check the id; records do not live for ever."


class TooLarge(SwellError):
    """The request is larger than this server takes."""

    code, status, side = "SIZE_INVALID", 413, Side.CLIENT
    advice = "Send less, or give a URL instead of the data itself."


class RequestSlow(SwellError):
    """The request did not come to its end in time."""

    code, status, side = "TIMEOUT", 408, Side.CLIENT
    advice = "Send the request again."


class MediaTypeUnsupported(SwellError):
    """The request's body is not said to be JSON."""

    code, status, side = "UNSUPPORTED", 415, Side.CLIENT
    advice = "Send JSON, with the header Content-Type: application/json."


class NameUnknown(SwellError):
    """The token is unknown or has expired."""

    code, status, side = "NAME_UNKNOWN", 404, Side.CLIENT
    advice = "Ask for the container again to get a new image name."


class NameInvalid(SwellError):
    """The path does not name an image."""

    code, status, side = "NAME_INVALID", 404, Side.CLIENT
    advice = "Pull the image name exactly as it was given."


class DigestInvalid(SwellError):
    """The digest is not one, or the content does not have it."""

    code, status, side = "DIGEST_INVALID", 400, Side.CLIENT
    advice = "Compare the declared digest and size with the content."


class ManifestUnknown(SwellError):
    """The registry has nothing under that tag or digest."""

    code, status, side = "MANIFEST_UNKNOWN", 404, Side.CLIENT
    advice = "Check the image's name and tag."


class ManifestInvalid(SwellError):
    """The image's manifest or config cannot be used."""

    code, status, side = "MANIFEST_INVALID", 502, Side.UPSTREAM
    advice = "Push the image again with a current tool, or use another one."


class BlobUnknown(SwellError):
    """The image has no such blob."""

    code, status, side = "BLOB_UNKNOWN", 404, Side.CLIENT
    advice = "Pull the whole image again."


class RangeInvalid(SwellError):
    """The blob ends before the range that was asked for."""

    code, status, side = "RANGE_INVALID", 416, Side.CLIENT
    advice = "Ask for a range within the size that Content-Range tells, or for the whole."


class Denied(SwellError):
    """The registry refuses to show that image to us."""

    code, status, side = "DENIED", 403, Side.CLIENT
    advice = (
        "Check the image's name. If it is private, the operator of this server must have credentials for its "
        "registry, and either list that in SWELL_SHARED_REGISTRIES or give out an API key with the scope operator-pull."
    )


class ScopeRequired(SwellError):
    """That needs an API key with another scope."""

    code, status, side = "SCOPE_REQUIRED", 403, Side.CLIENT
    advice = "Send an API key with the scope that the message names; the operator of this server gives them out."


class NotYours(SwellError):
    """Only whoever asked for it, or the operator, may do that."""

    code, status, side = "FORBIDDEN", 403, Side.CLIENT
    advice = "Send the requestId that you were answered, or the access token that you asked with."


class BuildEnded(SwellError):
    """The build has ended already."""

    code, status, side = "CONFLICT", 409, Side.CLIENT
    advice = "Read how it ended; there is nothing to cancel any more."


class AddressForbidden(SwellError):
    """The address is one that this server must not connect to."""

    code, status, side = "ADDRESS_FORBIDDEN", 400, Side.CLIENT
    advice = "Use a public address, or ask the operator to allow the host."


class TooManyRequests(SwellError):
    """Too many requests for now."""

    code, status, side = "TOOMANYREQUESTS", 429, Side.CLIENT
    advice = "Wait as long as Retry-After says."


class BuildFailed(SwellError):
    """The image of this token could not be built."""

    code, status, side = "MANIFEST_UNKNOWN", 404, Side.CLIENT
    advice = "Read the build's log, change the container file and submit it again."


class UpstreamFailed(SwellError):
    """The upstream gave an answer that makes no sense, or none."""

    code, status, side = "UPSTREAM_FAILED", 502, Side.UPSTREAM
    advice = "Try again; if it stays, the registry named in the message is the place to look."
    host: str | None = None
    """Which `host:port` failed, where a redirect led to another one than was asked. It does not cross gRPC."""


class DigestMismatch(UpstreamFailed):
    """The upstream sent other bytes than those of the digest that it was asked for."""


class UpstreamBroken(UpstreamFailed):
    """The upstream cannot be reached, or broke off its answer."""


class UpstreamSlow(UpstreamFailed):
    """The upstream did not answer in time."""

    code, status, side = "UPSTREAM_FAILED", 504, Side.UPSTREAM
    advice = "Try again in some minutes; if it stays, the registry named in the message is the place to look."


class UpstreamDown(UpstreamFailed):
    """The upstream has failed several times in a row, and is left alone for some seconds."""

    code, status, side = "UPSTREAM_FAILED", 503, Side.UPSTREAM
    advice = "Wait as long as Retry-After says."


class Unavailable(SwellError):
    """A part of this server cannot be reached just now."""

    code, status, side = "UNAVAILABLE", 503, Side.SERVER
    advice = "Try again in a moment."

    def __init__(self, message: str = "", *, retry_after: int | None = 2) -> None:
        super().__init__(message, retry_after=retry_after)


class SpoolFull(Unavailable):
    """The part of this server's disk that is for blobs on their way is full."""


def every_class() -> list[type[SwellError]]:
    """The whole tree, depth first; for the edges that must find a class again by its name."""
    found, waiting = [], [SwellError]
    while waiting:
        cls = waiting.pop()
        found.append(cls)
        waiting += reversed(cls.__subclasses__())
    return found
