"""Copies of images, with the operator's credentials that the principals of a mirror may use."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta

import aiohttp

from builder.settings import EngineSettings, Settings
from swell.api.mirrors import PlannedImage
from swell.concurrency.periodic import running_every
from swell.errors import DigestInvalid, ManifestUnknown
from swell.net.outbound import follow
from swell.oci.digest import Digest, parse_digest
from swell.oci.media_types import ACCEPT
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.copy import Copier, CopyLimits, CopyProgress
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import Principal
from swell.registry.credentials.user_credentials import UserCredentials
from swell.registry.push import fetch_document
from swell.registry.responses import failure

REPORT_EVERY = timedelta(seconds=10)

Report = Callable[[str], Awaitable[None]]


def puller(
    session: aiohttp.ClientSession, settings: EngineSettings, aws: AwsLogins, users: UserCredentials | None = None
) -> RegistryClient:
    """Return a client with the credentials of the operator and of *users* for pulling; the auth file is read once."""
    file, rules = settings.pull_auth_file, settings.credential_rules
    keyring = parse_auth_file(file.read_bytes(), rules.may_read, users) if file else Keyring(users=users)
    return RegistryClient(session, keyring, frozenset(settings.insecure_registries), aws=aws)


class RegistryCopies:
    """See `builder.mirror.Copies`; progress is reported every ten seconds."""

    def __init__(self, source: RegistryClient, target: RegistryClient, limits: CopyLimits) -> None:
        self._source = source
        self._copier = Copier(source, target, limits)

    async def digest_of_source(self, source: Reference) -> Digest:
        response = await self._source.ask(follow, "HEAD", source, f"manifests/{source.reference}", {"Accept": ACCEPT})
        response.release()
        if response.status == 200:
            with suppress(DigestInvalid):  # the header is optional
                return parse_digest(response.headers.get("Docker-Content-Digest", ""))
        document = await fetch_document(self._source, source)
        if document is None:
            raise failure(404, {}, f"'{source}'", ManifestUnknown)
        return document.digest

    async def copy(
        self, source: Reference, target: Reference, report: Report, may_tag: Callable[[], Awaitable[bool]]
    ) -> Digest:
        progress = CopyProgress()

        async def report_progress() -> None:
            if progress.expected:
                await report(f"{progress.sent} of {progress.expected} bytes are sent")

        async with running_every(REPORT_EVERY, report_progress, event="progress not reported", first=False):
            result = await self._copier.copy(source, target, report, progress=progress, may_tag=may_tag)
        await report(f"{target} is {result.digest}: {result.sent} of {result.total} bytes were sent")
        return result.digest

    async def plan(self, source: Reference, target: Reference) -> PlannedImage:
        plan = await self._copier.plan(source, target)
        return PlannedImage(
            digest=plan.digest,
            size=plan.total,
            missing=plan.size,
            missing_blobs=len(plan.blobs),
            cached=not (plan.size or plan.tag),
        )


class OpenRegistryCopies:
    """Opens copies between the registries that the *settings* allow."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Settings,
        aws: AwsLogins,
        target: RegistryClient,
        users: UserCredentials | None = None,
    ) -> None:
        self._source = puller(session, settings, aws, users)
        self._target = target
        self._limits = CopyLimits(size=settings.mirror_limit)

    def __call__(self, principal: Principal, push_principal: Principal) -> RegistryCopies:
        source, target = self._source.acting_for(principal), self._target.acting_for(push_principal)
        return RegistryCopies(source, target, self._limits)
