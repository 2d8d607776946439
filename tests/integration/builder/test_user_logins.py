"""The auth files of builds for users of a workspace: their logins, for the repositories that the build names."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builder.adapters.inputs.auth_files import AuthFiles
from builder.adapters.registry import prober
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.errors import Denied
from swell.net.outbound import Policy, open_session
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import Principal, limited_to, with_owners
from swell.registry.credentials.user_credentials import UserCredentials

ALICE, BOB, ENDED = (with_owners("platform", [name]) for name in ("alice", "bob", "ended"))
BASE, TARGET, OWN = "r.example/private/base", "r.example/alice/built", "own.example/swell/build"
LOGIN = Credentials("alice", "p:w")


@pytest.fixture
async def auth_files(tmp_path: Path) -> AsyncIterator[AuthFiles]:
    """The operator has a login for this server's repository only; Alice's workspace has one for r.example."""
    auth = tmp_path / "auth.json"
    auth.write_text(json.dumps({"auths": {"own.example": {"auth": "b3A6cHc="}}}))
    settings = EngineSettings(workspace=tmp_path, pull_auth_file=auth, push_auth_file=auth, build_repository=OWN)

    async def find(principal: Principal, reference: Reference) -> Credentials | None:
        if "ended" in principal:
            raise Denied("the session has ended")
        return LOGIN if "alice" in principal and reference.registry == "r.example" else None

    async with open_session(Policy()) as session:
        yield AuthFiles(settings, registry=prober(session, settings, UserCredentials(find)))


def recipe(principal: Principal, target: str = TARGET) -> Recipe:
    return Recipe(
        build_id="bd-1_1",
        target_image=f"{target}:1",
        containerfile=f"FROM {BASE}:1\nCOPY --from=r.example/other /a /b\n",
        platform="linux/amd64",
        principal=principal,
        push_principal=limited_to([OWN], principal) if target == OWN else principal,
    )


def logins(content: bytes) -> dict[str, str]:
    """The logins in an auth file, by their keys."""
    return {
        key: base64.b64decode(entry["auth"]).decode() for key, entry in json.loads(content).get("auths", {}).items()
    }


async def test_a_build_gets_the_logins_of_its_user_for_what_it_names(auth_files: AuthFiles) -> None:
    """One for each repository, not for the registry: a step could read others with it."""
    assert logins(await auth_files.pulls(recipe(ALICE))) == {BASE: "alice:p:w", "r.example/other": "alice:p:w"}
    assert logins(await auth_files.pushes(recipe(ALICE))) == {TARGET: "alice:p:w"}


async def test_another_user_gets_none_of_them(auth_files: AuthFiles) -> None:
    """Nor the operator's."""
    assert logins(await auth_files.pulls(recipe(BOB))) == {}
    assert logins(await auth_files.pushes(recipe(BOB))) == {}


async def test_this_servers_repository_is_the_operators(auth_files: AuthFiles) -> None:
    """The principal opens it; the workspace has nothing to say there."""
    assert logins(await auth_files.pushes(recipe(ALICE, OWN))) == {OWN: "op:pw"}


async def test_a_private_base_image_is_not_for_shared_caches(auth_files: AuthFiles) -> None:
    """The operator has no login for it, which alone would mean that it is public."""
    assert not await auth_files.reads_public_only(recipe(ALICE))
    assert await auth_files.may_mount(recipe(ALICE), parse_reference(f"{BASE}:1"))


async def test_a_session_that_has_ended_fails_the_build(auth_files: AuthFiles) -> None:
    """With the reason; the build is not run without the login."""
    with pytest.raises(BuildFailure, match="the session has ended"):
        await auth_files.pulls(recipe(ENDED))
