"""Amazon ECR: exchange AWS keys or a role for a login of the registry.

botocore signs the requests; the common session sends them.
Sources: Amazon ECR API, GetAuthorizationToken,
https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html; AWS STS API, AssumeRole,
https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

import re
import time
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import aiohttp
import msgspec
from cachetools import TLRUCache
from msgspec import Struct
from yarl import URL

from swell.concurrency.single_flight import SingleFlight
from swell.errors import Denied, TooManyRequests, UpstreamFailed
from swell.net.outbound import read, send
from swell.registry.credentials.fingerprints import Fingerprints
from swell.registry.credentials.keyring import Credentials, parse_basic
from swell.registry.responses import failure
from swell.registry.retry import RetryPolicy
from swell.registry.settings import RegistrySettings

MAX_LOGINS = 1000
ANSWER_BYTES = 1 << 18
SKEW_SECONDS = 300
ROLE_SECONDS = 3600
PUBLIC = "public.ecr.aws"

_PRIVATE = re.compile(r"\d{12}\.dkr\.ecr(?:-fips)?\.([a-z]{2}(?:-[a-z]+){1,3}-\d{1,2})\.(amazonaws\.com(?:\.cn)?)")
_KEY_ID = re.compile(r"A[KS]IA[A-Z0-9]{12,124}")
_ROLE = re.compile(r"arn:aws(?:-[a-z]+)*:iam::\d{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}")
_THROTTLED = re.compile(rb"Throttl|TooManyRequests|RequestLimitExceeded")


NO_KEYS = RegistrySettings()


class Place(NamedTuple):
    """The service that issues logins for a registry: `ecr` or `ecr-public`, and the *domain* of the partition."""

    service: str
    region: str
    domain: str = "amazonaws.com"


def place_of(registry: str) -> Place | None:
    """Return the service that issues logins for *registry*; None when it is not a registry of Amazon."""
    if registry == PUBLIC:
        return Place("ecr-public", "us-east-1")
    match = _PRIVATE.fullmatch(registry)
    return Place("ecr", match[1], match[2]) if match else None


def is_exchanged(registry: str, credentials: Credentials) -> bool:
    """Return whether *credentials* are AWS keys or a role, which must not be sent to *registry*."""
    named = _KEY_ID.fullmatch(credentials.user) or _ROLE.fullmatch(credentials.user)
    return named is not None and place_of(registry) is not None


class _Keys(NamedTuple):
    key_id: str
    secret: str
    session: str | None = None
    until: float = float("inf")


class _Login(NamedTuple):
    credentials: Credentials
    until: float


class _Data(Struct, rename="camel"):
    authorization_token: str
    expires_at: float


class _EcrAnswer(Struct, rename="camel"):
    authorization_data: list[_Data] | _Data


class AwsLogins:
    """Exchanges AWS credentials for logins.

    The user is an access key id (the password is the secret key), or the ARN of a role (the password is its external
    id). A login is cached until five minutes before it, or the session of the role, expires.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: RegistrySettings = NO_KEYS) -> None:
        self._session = session
        self._settings = settings
        self._retries = RetryPolicy()
        self._fingerprints = Fingerprints()
        self._cached: TLRUCache[bytes, _Login] = TLRUCache(MAX_LOGINS, _expiry, time.time)
        self._asking: SingleFlight[bytes, _Login] = SingleFlight()

    async def login(self, registry: str, credentials: Credentials, lasting: timedelta = timedelta()) -> Credentials:
        """Return the login for *registry*: *credentials*, unless they must be exchanged.

        A cached login is valid for *lasting* at least; a new one for as long as AWS decides.

        Raises:
            Denied: AWS refuses the credentials.
            TooManyRequests, UpstreamFailed, AddressForbidden: AWS throttles, fails, or cannot be reached.
        """
        place = place_of(registry)
        if place is None or not is_exchanged(registry, credentials):
            return credentials
        key = self._fingerprints.of(*place, credentials.user, credentials.password)
        known = self._cached.get(key)
        if known is None or known.until < time.time() + lasting.total_seconds():
            known = await self._asking.run(key, lambda: self._exchange(place, credentials))
            self._cached[key] = known
        return known.credentials

    async def _exchange(self, place: Place, credentials: Credentials) -> _Login:
        keys = _Keys(credentials.user, credentials.password)
        if _ROLE.fullmatch(credentials.user):
            keys = await self._assume(place, credentials)
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": _TARGETS[place.service]}
        content = await self._ask(self._ecr(place), headers, b"{}", keys, place.service, place.region)
        try:
            data_or_list = msgspec.json.decode(content, type=_EcrAnswer).authorization_data
            data = data_or_list[0] if isinstance(data_or_list, list) else data_or_list
            return _Login(parse_basic(data.authorization_token), min(data.expires_at, keys.until) - SKEW_SECONDS)
        except (msgspec.MsgspecError, ValueError, IndexError, RecursionError) as error:
            raise UpstreamFailed(f"{place.service} sends an invalid login") from error

    async def _assume(self, place: Place, role: Credentials) -> _Keys:
        ours = self._settings
        if not (ours.aws_access_key_id and ours.aws_secret_access_key):
            raise Denied("This server has no AWS keys of its own to assume a role with")
        keys = _Keys(ours.aws_access_key_id, ours.aws_secret_access_key, ours.aws_session_token)
        fields = {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": role.user,
            "RoleSessionName": "swell",
            "DurationSeconds": str(ROLE_SECONDS),
        }
        if role.password:
            fields["ExternalId"] = role.password
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url = URL(ours.aws_sts_endpoint or f"https://sts.{place.region}.{place.domain}/")
        return _session_keys(await self._ask(url, headers, urlencode(fields).encode(), keys, "sts", place.region))

    async def _ask(
        self, url: URL, headers: dict[str, str], body: bytes, keys: _Keys, service: str, region: str
    ) -> bytes:
        signed = _signed(url, headers, body, keys, service, region)
        response = await self._retries.ask(url, lambda: send(self._session, "POST", url, signed, body))
        async with response:
            content = await read(response, ANSWER_BYTES)
        if response.status == 200:
            return content
        if _THROTTLED.search(content):
            raise TooManyRequests("AWS takes no more requests for now", retry_after=5)
        if response.status in {400, 401, 403}:
            raise Denied(f"AWS does not take the credentials: {service} answers {response.status}")
        raise failure(response.status, response.headers, f"a login from {service}", UpstreamFailed)

    def _ecr(self, place: Place) -> URL:
        """Source: AWS general reference, "Amazon ECR endpoints", https://docs.aws.amazon.com/general/latest/gr/ecr.html."""
        if place.service == "ecr-public":
            return URL(
                self._settings.aws_ecr_public_endpoint or f"https://api.ecr-public.{place.region}.{place.domain}/"
            )
        return URL(self._settings.aws_ecr_endpoint or f"https://api.ecr.{place.region}.{place.domain}/")


_TARGETS = {
    "ecr": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
    "ecr-public": "SpencerFrontendService.GetAuthorizationToken",
}


def _signed(url: URL, headers: dict[str, str], body: bytes, keys: _Keys, service: str, region: str) -> dict[str, str]:
    # imported here, because it needs 5 MB of memory
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]  # noqa: PLC0415
    from botocore.credentials import ReadOnlyCredentials  # type: ignore[import-untyped]  # noqa: PLC0415

    request = AWSRequest("POST", str(url), headers=headers, data=body)
    credentials = ReadOnlyCredentials(keys.key_id, keys.secret, keys.session)
    SigV4Auth(credentials, service, region).add_auth(request)
    return dict(request.headers.items())


def _session_keys(content: bytes) -> _Keys:
    """Parse the keys of an assumed role. expat limits the expansion of entities, and the response is small."""
    try:
        root = ET.fromstring(content)  # noqa: S314
        found = {element.tag.rpartition("}")[2]: element.text or "" for element in root.iter()}
        until = datetime.fromisoformat(found["Expiration"]).timestamp()
        return _Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], until)
    except (ET.ParseError, KeyError, ValueError) as error:
        raise UpstreamFailed("sts sends invalid keys") from error


def _expiry(_: bytes, login: _Login, now: float) -> float:
    return max(login.until, now)
