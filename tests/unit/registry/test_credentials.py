"""Who we are to a registry."""

import base64
import json

import pytest

from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import (
    Credentials,
    Keyring,
    parse_auth_file,
    parse_basic,
    path_of,
)
from swell.registry.credentials.principal import PUBLIC, Principal, with_owners
from swell.settings import SettingsInvalid

USER = with_owners("user", ["ada"])


def auth_file(**entries: str) -> bytes:
    auths = {key: {"auth": base64.b64encode(value.encode()).decode()} for key, value in entries.items()}
    return json.dumps({"auths": auths}).encode()


def keyring(**entries: str) -> Keyring:
    return parse_auth_file(auth_file(**entries))


def user_for(image: str, keys: Keyring) -> str | None:
    found = keys.entry(parse_reference(image))
    return found.user if found else None


def test_the_longest_path_wins() -> None:
    """An operator gives one team's repositories other credentials than the rest of the registry."""
    keys = keyring(**{"quay.io": "all:1", "quay.io/team": "team:2", "quay.io/team/tool": "tool:3"})

    users = [
        user_for(image, keys) for image in ("quay.io/x/y", "quay.io/team/other", "quay.io/team/tool:1", "ghcr.io/a/b")
    ]

    assert users == ["all", "team", "tool", None]


def test_a_path_matches_whole_components_only() -> None:
    """`quay.io/team` says nothing about `quay.io/teamsters`, which may have another owner."""
    assert user_for("quay.io/teamsters/tool", keyring(**{"quay.io/team": "team:2"})) is None


def test_a_host_matches_as_a_whole() -> None:
    """Else the credentials of one registry would be sent to a look-alike."""
    keys = keyring(**{"quay.io": "all:1", "localhost:5000": "local:2"})

    assert user_for("quay.io.evil.org/a/b", keys) is None
    assert user_for("localhost:50001/a/b", keys) is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io", "docker.io/library"]
)
def test_docker_hub_has_many_names(key: str) -> None:
    """`docker login` writes the first, podman others."""
    assert user_for("ubuntu", keyring(**{key: "me:secret"})) == "me"


@pytest.mark.parametrize("password", ["", "an external id", "an:external:id"])
def test_a_roles_name_has_colons(password: str) -> None:
    """No other user may: HTTP Basic ends the name at the first."""
    role = "arn:aws-cn:iam::123456789012:role/team/puller"
    found = keyring(**{"a.example": f"{role}:{password}"}).entry(parse_reference("a.example/tool"))
    assert found == Credentials(role, password)


def test_an_identity_token_comes_with_the_entry_that_holds_it() -> None:
    """`az acr login` writes a user without a password beside it."""
    entry = {"auth": Credentials("unnamed", "").encoded, "identitytoken": "refresh me"}
    keys = parse_auth_file(json.dumps({"auths": {"a.azurecr.io": entry}}).encode())
    assert keys.entry(parse_reference("a.azurecr.io/tool")) == Credentials("unnamed", "", "refresh me")


def test_a_roles_name_alone_is_no_login() -> None:
    """It would be taken for a user `arn`."""
    with pytest.raises(SettingsInvalid):
        keyring(**{"a.example": "arn:aws:iam::123456789012:role/puller"})


def test_a_password_may_hold_colons_and_unicode() -> None:
    """Google's is a whole JSON document."""
    credentials = keyring(**{"gcr.io": '_json_key:{"a": "ü"}'}).entry(parse_reference("gcr.io/a/b"))

    assert credentials == Credentials("_json_key", '{"a": "ü"}')


def test_entries_without_credentials_of_their_own_are_left_out() -> None:
    """Docker writes empty entries beside a credential helper."""
    assert parse_auth_file(b'{"auths": {"quay.io": {}}, "credsStore": "desktop"}').entries == {}


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"auths": []}', b'{"auths": {"q": {"auth": "c2VjcmV0"}}}', auth_file(q="x")[:-1]]
)
def test_a_broken_file_is_refused_without_its_secrets(content: bytes) -> None:
    """The service stops with this message in its log."""
    with pytest.raises(SettingsInvalid) as caught:
        parse_auth_file(content)

    assert "secret" not in str(caught.value)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    """Values end in logs."""
    assert "hidden" not in repr(Credentials("me", "hidden"))


def test_a_header_is_as_in_rfc_7617() -> None:
    """The vector of its section 2."""
    assert Credentials("Aladdin", "open sesame").basic == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("quay.io", "quay.io"),
        ("QUAY.io/", "quay.io"),
        ("quay.io/team/tool", "quay.io/team/tool"),
        ("quay.io/v1", "quay.io"),
        ("quay.io/v2/", "quay.io"),
        ("https://quay.io/v1/", "quay.io"),
        ("https://quay.io/team", "quay.io"),
        ("quay.io/v1/team", "quay.io/v1/team"),
    ],
)
def test_an_entry_is_for_a_host_or_a_path_below_it(key: str, path: str) -> None:
    """Docker writes URLs of the API, which say nothing about a repository; podman writes paths."""
    assert path_of(key) == path


@pytest.mark.parametrize("text", ["bWU6cHc=!", "bWU6 cHc=", "bWU", "bWU=", "/w=="])
def test_what_is_not_base64_of_a_login_is_refused(text: str) -> None:
    """Skipping wrong characters would make other credentials of them."""
    with pytest.raises(ValueError):  # noqa: PT011  of several kinds
        parse_basic(text)


def test_zeros_at_the_end_of_a_password_are_dropped() -> None:
    """Old Docker versions pad so."""
    assert parse_basic("bWU6cHcAAA==") == Credentials("me", "pw")


class OneUser:
    """The credentials of one user for every image, once they are loaded."""

    def __init__(self) -> None:
        self.loaded: Credentials | None = None

    def known(self, reference: Reference, principal: Principal) -> Credentials | None:
        return self.loaded if principal == USER else None

    async def load(self, reference: Reference, principal: Principal) -> Credentials | None:
        self.loaded = Credentials("ada", "secret")
        return self.known(reference, principal)


async def test_credentials_of_users_precede_those_of_the_operator() -> None:
    """They are used after they were loaded, and for their owner only."""
    image = parse_reference("quay.io/team/tool:1")
    keys = Keyring({"quay.io": Credentials("operator", "1")}, lambda *_: True, OneUser())

    assert keys.find(image, USER) == Credentials("operator", "1")
    assert await keys.load(image, USER) == Credentials("ada", "secret")
    assert keys.find(image, USER) == Credentials("ada", "secret")
    assert keys.find(image, PUBLIC) == Credentials("operator", "1")
