"""Keyless signing by a whole stack, with the real servers of sigstore and the real cosign."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from swell.programs import find
from swell.signing.keyless import verify
from swell.signing.statements import PROVENANCE, SIGNATURE
from tests.bench.process import CannotMeasure, run
from tests.e2e.client import client_of, until
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.sigstore import IDENTITY
from tests.sigstore.servers import servers

pytestmark = pytest.mark.full


async def test_cosign_verifies_the_identity_of_a_server_through_a_token(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record has identity and issuer. The first attempt has an expired token: the record says so, and the next one
    reads the token that has replaced it.
    """
    programs = find("cosign", "cosign")
    assert programs, "there is no cosign: run `make cosign`"
    folder = tmp_path / "sigstore"
    folder.mkdir()
    async with servers(folder) as sigstore:
        sigstore.new_token(exp=1)
        settings = {
            "SIGN": "keyless",
            "KEYLESS_TRUSTED_ROOT_FILE": str(sigstore.trusted_root),
            "KEYLESS_SIGNING_CONFIG_FILE": str(sigstore.signing_config),
            "KEYLESS_TOKEN_FILE": str(sigstore.token),
        }
        async with new_stack(tmp_path / "stack", **settings) as stack, client_of(stack.url) as swell:
            answer = await swell.build(f"FROM {upstreams.image()}\nLABEL signed=keyless\n")
            path = f"/v1alpha1/builds/{answer['buildId']}"

            async def signature(status: str) -> dict[str, Any] | None:
                known = (await swell.get(path))[1].get("signature", {})
                return known if known.get("status") == status else None

            failed = await until(lambda: signature("RETRYING"), seconds=120)
            assert "expired" in failed["reason"]
            sigstore.new_token()
            signed = await until(lambda: signature("SIGNED"), seconds=120)
            assert (signed["identity"], signed["issuer"]) == (IDENTITY, sigstore.issuer.url)
            assert "keyId" not in signed

            digest, root = (await swell.get(path))[1]["digest"], sigstore.trusted_root.read_bytes()
            for name, kind in (("signature", SIGNATURE), ("provenance", PROVENANCE)):
                _, bundle = await swell.get(f"{path}/{name}")
                predicate = verify(msgspec.json.encode(bundle), root, IDENTITY, sigstore.issuer.url, digest, kind)
                assert bool(predicate) == (kind == PROVENANCE)

            monkeypatch.setenv("HOME", str(tmp_path))  # of cosign
            trusted = "--trusted-root", str(sigstore.trusted_root), "--allow-http-registry"
            issuer = "--certificate-oidc-issuer", sigstore.issuer.url, answer["targetImage"]
            ours, other = (("--certificate-identity", name) for name in (IDENTITY, f"{IDENTITY}2"))
            for command in (("verify",), ("verify-attestation", "--type", "slsaprovenance1")):
                await run(str(programs[0]), *command, *trusted, *ours, *issuer)
                with pytest.raises(CannotMeasure, match="ended with"):
                    await run(str(programs[0]), *command, *trusted, *other, *issuer)
