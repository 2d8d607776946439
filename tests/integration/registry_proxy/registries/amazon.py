"""A scripted AWS: ECR, public ECR and STS, which verify the signatures of requests."""

import time
from base64 import b64encode
from datetime import UTC, datetime
from urllib.parse import parse_qs

from aiohttp import web

from swell.registry.credentials.keyring import Credentials
from swell.registry.settings import RegistrySettings
from tests.integration.registry_proxy.registries.sigv4 import signer
from tests.integration.registry_proxy.support import Script

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
PUBLIC = "public.ecr.aws"
KEYS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
ROLE = Credentials("arn:aws:iam::123456789012:role/puller", "an external id")
SESSION = ("ASIAIOSFODNN7SESSION", "session-secret", "session-token")


class Aws:
    """Plays ECR, public ECR and STS on one port; `signers` are who signed what was answered, `forms` what STS got."""

    def __init__(self, script: Script) -> None:
        self.secrets = {KEYS.user: KEYS.password, SESSION[0]: SESSION[1]}
        self.signers: list[tuple[str, str, str]] = []
        self.forms: list[dict[str, list[str]]] = []
        self.login = "AWS:first"
        self.seconds = 12 * 3600.0
        self.settings = RegistrySettings(
            aws_access_key_id=KEYS.user,
            aws_secret_access_key=KEYS.password,
            aws_ecr_endpoint=f"{script.url}/ecr",
            aws_ecr_public_endpoint=f"{script.url}/public",
            aws_sts_endpoint=f"{script.url}/sts",
        )
        script.on("/ecr", self._private)
        script.on("/public", self._public)
        script.on("/sts", self._sts)

    async def _private(self, request: web.Request) -> web.Response:
        assert request.headers["X-Amz-Target"] == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
        return await self._given(request, [self._data()])

    async def _public(self, request: web.Request) -> web.Response:
        assert request.headers["X-Amz-Target"] == "SpencerFrontendService.GetAuthorizationToken"
        return await self._given(request, self._data())

    def _data(self) -> dict[str, object]:
        token = b64encode(self.login.encode()).decode()
        return {"authorizationToken": token, "expiresAt": time.time() + self.seconds, "proxyEndpoint": "x"}

    async def _given(self, request: web.Request, data: object) -> web.Response:
        if not await self._signed(request):
            return web.json_response({"__type": "InvalidSignatureException", "message": "secret"}, status=400)
        return web.json_response({"authorizationData": data})

    async def _sts(self, request: web.Request) -> web.Response:
        if not await self._signed(request):
            return web.Response(
                status=403, text="<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"
            )
        self.forms.append(parse_qs(await request.text()))
        key_id, secret, token = SESSION
        until = datetime.fromtimestamp(int(time.time() + 3600), UTC).isoformat().replace("+00:00", "Z")
        return web.Response(
            text='<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>'
            f"<AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
            f"<SessionToken>{token}</SessionToken><Expiration>{until}</Expiration>"
            "</Credentials></AssumeRoleResult></AssumeRoleResponse>",
            content_type="text/xml",
        )

    async def _signed(self, request: web.Request) -> bool:
        found = signer(request.method, request.path, request.headers, await request.read(), self.secrets)
        token = SESSION[2] if found and found[0] == SESSION[0] else None
        if not found or request.headers.get("X-Amz-Security-Token") != token:
            return False
        self.signers.append(found)
        return True
