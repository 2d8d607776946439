"""Keyless signing: certificates of a sigstore over HTTP, for images in a real registry.

`make test` has a stand-in for the servers of sigstore; `make test-full` signs with the real ones, for the real cosign.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builder.keyless.notary import KeylessNotary
from builder.settings import SigningSettings
from swell.errors import ManifestInvalid, Unavailable
from swell.oci.digest import Digest
from swell.settings import SettingsInvalid
from swell.signing.keyless import Keyless, verify
from swell.signing.keys import TrustedKeys
from swell.signing.statements import PROVENANCE, SIGNATURE, SPDX, Subject, Unsigned, attachment, encode_statement
from swell.store.attestations import Attestation, attestation_key
from swell.store.objects import MemoryObjects
from swell.store.records import SigningState
from tests.integration.signing.site import Cosign, Site
from tests.sigstore import IDENTITY, Sigstore
from tests.sigstore.servers import servers
from tests.sigstore.stand_in import StandIn, stand_in

DIGEST = Digest(f"sha256:{'a' * 64}")
OTHER = Digest(f"sha256:{'b' * 64}")


@pytest.fixture(scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Sigstore, StandIn]]:
    async with stand_in(tmp_path_factory.mktemp("sigstore")) as started:
        yield started


@pytest.fixture
def store(opened: tuple[Sigstore, StandIn]) -> tuple[Sigstore, StandIn]:
    """A sigstore that works, and has not been asked anything."""
    sigstore, server = opened
    sigstore.new_token()
    server.refused = set()
    server.requests.clear()
    return opened


def notary(sigstore: Sigstore, objects: MemoryObjects | None = None, **settings: Any) -> KeylessNotary:
    """A notary for *sigstore*; what it signs is in *objects*."""
    files = {
        "workspace": sigstore.token.parent,
        "keyless_trusted_root_file": sigstore.trusted_root,
        "keyless_signing_config_file": sigstore.signing_config,
        "keyless_token_file": sigstore.token,
    }
    timeout = settings.pop("timeout", timedelta(seconds=90))
    keys = settings.pop("keys", TrustedKeys())
    return KeylessNotary(SigningSettings(**files | settings), objects or MemoryObjects(), keys, timeout)


def statement(kind: str = SIGNATURE, stored: bytes | None = None) -> Unsigned:
    return Unsigned(encode_statement(Subject("registry/a", DIGEST), kind, {}), DIGEST, kind, stored)


def accepted(sigstore: Sigstore, bundle: bytes, digest: Digest, kind: str = SIGNATURE, **others: str) -> dict[str, Any]:
    expected = {"identity": IDENTITY, "issuer": sigstore.issuer.url} | others
    return verify(bundle, sigstore.trusted_root.read_bytes(), digest=digest, predicate_type=kind, **expected)


async def test_an_image_is_signed_by_an_identity(site: Site, store: tuple[Sigstore, StandIn]) -> None:
    """All statements have one certificate; each has a timestamp and an entry of the log, and names the image.

    The record has the identity, and another one, another digest and another type are refused.
    """
    sigstore, server = store
    event, image, _ = await site.built("keyless")
    digest = image.digest
    assert digest is not None

    await site.attester(notary=notary(sigstore, site.logs)).on_build_done(event, 1)

    bundles = await site.attached(image)
    assert bundles.keys() == {SIGNATURE, PROVENANCE, SPDX}
    assert accepted(sigstore, bundles[SIGNATURE], digest) == {}
    definition = accepted(sigstore, bundles[PROVENANCE], digest, PROVENANCE)["buildDefinition"]
    assert {"uri": "docker.io/library/a:1", "digest": {"sha256": "b" * 64}} in definition["resolvedDependencies"]
    assert await site.logs.get(attestation_key(event.id, Attestation.SIGNATURE)) == bundles[SIGNATURE]
    assert server.requests == {"fulcio": 1, "log": 3, "timestamps": 3}
    assert await asyncio.to_thread(_shares_certificate, *bundles.values())
    signing = await site.builds.signing(event.id)
    assert signing is not None and signing.state is SigningState.SIGNED
    assert (signing.identity, signing.issuer, signing.key_id) == (IDENTITY, sigstore.issuer.url, "")
    for wrong in ({"identity": f"{IDENTITY}2"}, {"issuer": "https://elsewhere.example.org"}):
        with pytest.raises(ManifestInvalid, match="trusted identity"):
            accepted(sigstore, bundles[SIGNATURE], digest, **wrong)
    for about, kind in ((OTHER, SIGNATURE), (digest, PROVENANCE)):
        with pytest.raises(ManifestInvalid, match="the bundle is no"):
            accepted(sigstore, bundles[SIGNATURE], about, kind)


def _shares_certificate(*bundles: bytes) -> bool:
    return len({json.loads(each)["verificationMaterial"]["certificate"]["rawBytes"] for each in bundles}) == 1


async def test_what_was_changed_is_refused(store: tuple[Sigstore, StandIn], tmp_path: Path) -> None:
    """Another payload, no timestamp, no entry, and the trusted root of another sigstore."""
    sigstore, _ = store
    (bundle,) = await notary(sigstore).sign([statement()])
    assert accepted(sigstore, bundle, DIGEST) == {}

    for change in (_payload, _no_timestamp, _no_entry):
        fields = json.loads(bundle)
        change(fields)
        with pytest.raises(ManifestInvalid):
            accepted(sigstore, json.dumps(fields).encode(), DIGEST)
    async with stand_in(tmp_path) as (stranger, _):
        with pytest.raises(ManifestInvalid):
            accepted(stranger, bundle, DIGEST, issuer=sigstore.issuer.url)


def _payload(fields: dict[str, Any]) -> None:
    changed = encode_statement(Subject("registry/a", DIGEST), SIGNATURE, {"more": 1})
    fields["dsseEnvelope"]["payload"] = base64.b64encode(changed).decode()


def _no_timestamp(fields: dict[str, Any]) -> None:
    del fields["verificationMaterial"]["timestampVerificationData"]


def _no_entry(fields: dict[str, Any]) -> None:
    fields["verificationMaterial"]["tlogEntries"] = []


async def test_a_repeated_attempt_adds_nothing(site: Site, store: tuple[Sigstore, StandIn]) -> None:
    """Also if the first one was not attached, and nothing is asked of the servers again.

    What the operator's key has signed before stays.
    """
    sigstore, server = store
    event, image, _ = await site.built("keyless-twice")
    refused = site.attester(client=site.stranger, notary=notary(sigstore, site.logs))
    attester = site.attester(notary=notary(sigstore, site.logs))

    with pytest.raises(Unavailable):
        await refused.on_build_done(event, 1)
    first = await notary(sigstore, site.logs).sign([statement()])
    requests = server.requests.copy()
    again = await notary(sigstore, site.logs).sign([statement()])
    assert (again, server.requests) == (first, requests)

    await attester.on_build_done(event, 2)
    bundles = await site.attached(image)
    requests = server.requests.copy()
    await attester.on_build_done(event, 3)
    assert (await site.attached(image), server.requests) == (bundles, requests)

    by_key, earlier, _ = await site.built("by-key-before")
    await site.attester().on_build_done(by_key, 1)
    bundles = await site.attached(earlier)
    await site.attester(notary=notary(sigstore, site.logs, keys=site.keys)).on_build_done(by_key, 2)
    assert (await site.attached(earlier), server.requests) == (bundles, requests)


async def test_a_failing_server_is_named_and_tried_again(site: Site, store: tuple[Sigstore, StandIn]) -> None:
    """The build keeps its result, the record has the reason, and the next attempt signs with the token of that time."""
    sigstore, server = store
    event, image, _ = await site.built("keyless-refused")
    attester = site.attester(notary=notary(sigstore, site.logs))
    failures = {"fulcio": "Fulcio gave no certificate", "log": "log entry", "timestamps": "timestamp"}
    for attempt, (name, reason) in enumerate(failures.items(), 1):
        server.refused = {name}
        with pytest.raises(Unavailable, match=reason):
            await attester.on_build_done(event, attempt)
        signing = await site.builds.signing(event.id)
        assert signing is not None and (signing.state, signing.attempts) == (SigningState.RETRYING, attempt)
        assert reason in signing.reason
        assert "not now" in signing.reason or name == "timestamps"
    server.refused = set()
    token = sigstore.token.read_text()
    sigstore.new_token(exp=1)
    with pytest.raises(Unavailable, match="expired"):
        await attester.on_build_done(event, 4)
    sigstore.new_token(iss="https://elsewhere.example.org")
    with pytest.raises(Unavailable, match="the token is not valid") as refused:
        await attester.on_build_done(event, 5)
    assert token.split(".")[1] not in str(refused.value)
    build = await site.builds.get(event.id)
    assert build is not None and build.result is not None and build.result.succeeded
    assert await site.attached(image) == {}

    sigstore.new_token()
    await attester.on_build_done(event, 6)

    signing = await site.builds.signing(event.id)
    assert signing is not None and (signing.state, signing.reason) == (SigningState.SIGNED, "")
    assert (await site.attached(image)).keys() == {SIGNATURE, PROVENANCE, SPDX}


async def test_a_server_that_never_answers_ends_with_the_time_limit(store: tuple[Sigstore, StandIn]) -> None:
    """The process that waits for it is ended, and the next attempt works."""
    sigstore, server = store
    server.delayed["log"] = asyncio.Event()
    with pytest.raises(Unavailable, match="more than 3 s"):
        await notary(sigstore, timeout=timedelta(seconds=3)).sign([statement()])
    server.delayed.pop("log").set()

    assert len(await notary(sigstore).sign([statement()])) == 1


async def test_a_builder_with_unusable_files_does_not_start(store: tuple[Sigstore, StandIn], tmp_path: Path) -> None:
    """The message says what is wrong. An expired token is no reason to stop: it will be replaced."""
    sigstore, server = store
    sigstore.new_token(exp=1)
    await notary(sigstore).check()

    with pytest.raises(SettingsInvalid, match="no JSON Web Token for the audience other"):
        await notary(sigstore, keyless_audience="other").check()
    with pytest.raises(SettingsInvalid, match="needs SWELL_KEYLESS_TRUSTED_ROOT_FILE"):
        await notary(sigstore, keyless_trusted_root_file=None).check()
    with pytest.raises(SettingsInvalid, match="SWELL_KEYLESS_TOKEN_FILE: .* cannot be read: No such file"):
        await notary(sigstore, keyless_token_file=tmp_path / "missing").check()
    assert not server.requests


def test_unusable_files_are_explained(store: tuple[Sigstore, StandIn]) -> None:
    """Without any of these, nothing is signed: no client could verify it."""
    sigstore, _ = store
    token = sigstore.token.read_text()
    root, config = (json.loads(path.read_bytes()) for path in (sigstore.trusted_root, sigstore.signing_config))

    def rejected(message: str, root: Any = root, config: Any = config, token: str = token) -> None:
        with pytest.raises(SettingsInvalid, match=message) as raised:
            Keyless(json.dumps(root).encode(), json.dumps(config).encode(), token, "sigstore")
        assert token not in str(raised.value)

    rejected("no JSON object", root=[])
    rejected("no JSON Web Token for the audience", token="not-a-token")
    rejected("has no claim sub", token=sigstore.issuer.token("sigstore", sub=None))
    for missing in ("certificateAuthorities", "ctlogs", "tlogs"):
        rejected("cannot be used", root=root | {missing: []})
    rejected("must have a timestamp authority", root=root | {"timestampAuthorities": []})
    rejected("must have a timestamp authority", config=config | {"tsaUrls": []})
    for missing in ("caUrls", "rekorTlogUrls"):
        rejected("cannot be used", config=config | {missing: []})
    ended = {"start": "2020-01-01T00:00:00Z", "end": "2021-01-01T00:00:00Z"}
    rejected("cannot be used", config=config | {"caUrls": [config["caUrls"][0] | {"validFor": ended}]})


@pytest.mark.full
async def test_cosign_accepts_what_real_servers_have_certified(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fulcio, its log of certificates, Rekor v2 and the timestamp authority are real, and so is cosign.

    Another identity, another issuer, a replaced layer and the bundle of another image are refused.
    """
    folder = tmp_path / "sigstore"
    folder.mkdir()
    async with servers(folder) as sigstore:
        cosign = Cosign(site, tmp_path, monkeypatch)
        known: dict[str, Any] = {
            "trusted_root": sigstore.trusted_root,
            "identity": IDENTITY,
            "issuer": sigstore.issuer.url,
        }
        event, image, _ = await site.built("cosign-keyless")
        await site.attester(notary=notary(sigstore, site.logs)).on_build_done(event, 1)

        attested = "verify-attestation", "--type"
        for command in (("verify",), (*attested, "slsaprovenance1"), (*attested, SPDX)):
            assert await cosign.accepts_identity(image, *command, **known)
            for wrong in ({"identity": f"{IDENTITY}2"}, {"issuer": "https://elsewhere.example.org"}):
                assert not await cosign.accepts_identity(image, *command, **known | wrong)
        assert not await cosign.accepts(image, "verify")  # with a key

        _, layered, _ = await site.built("keyless-layer")
        assert not await cosign.accepts_identity(layered, "verify", **known)
        _, copied, document = await site.built("keyless-copied")
        for kind, bundle in (await site.attached(image)).items():
            await site.attach(copied, bundle, attachment(bundle, kind, document))
        assert not await cosign.accepts_identity(copied, "verify", **known)
        assert not await cosign.accepts_identity(copied, *attested, SPDX, **known)
        digest = image.digest
        assert digest is not None
        signature = (await site.attached(image))[SIGNATURE]
        assert accepted(sigstore, signature, digest) == {}
        with pytest.raises(ManifestInvalid):
            accepted(sigstore, signature, digest, identity=f"{IDENTITY}2")


@pytest.mark.full
async def test_cosign_accepts_what_the_stand_in_has_certified(
    site: Site, store: tuple[Sigstore, StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the stand-in of `make test` is as strict as the real servers, in what a signature needs."""
    sigstore, _ = store
    event, image, _ = await site.built("cosign-stand-in")
    await site.attester(notary=notary(sigstore, site.logs)).on_build_done(event, 1)

    known: dict[str, Any] = {"trusted_root": sigstore.trusted_root, "identity": IDENTITY, "issuer": sigstore.issuer.url}
    assert await Cosign(site, tmp_path, monkeypatch).accepts_identity(image, "verify", **known)
