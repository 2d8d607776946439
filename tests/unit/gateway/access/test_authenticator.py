"""Identity: who is let in, by what they bring; and which address they come from."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.access.accounts.accounts import Accounts
from gateway.access.authenticator import Authenticator, IdentitySources
from gateway.access.guess_limiter import GuessLimiter
from gateway.adapters.access.api_keys import ApiKey, ApiKeys, hash_of, new_key
from gateway.commands import keys as keys_command
from gateway.commands.keys import entry_of
from gateway.domain.access import api_key
from gateway.domain.access.identity import ANONYMOUS, USER_SCOPES, Caller, Identity, Scope
from gateway.domain.quota import Quota
from gateway.http.caller import Callers, ClientAddress, bearer, networks
from gateway.http.errors import headers_of
from swell.errors import AccountRequired, EndpointUnpaired, ScopeRequired, TooManyRequests, Unauthorized
from swell.registry.credentials.principal import OPERATOR, PUBLIC
from swell.settings import SettingsInvalid

ADA = Identity(user="ada", email="ada@example.org", organisation="engines")
KEY = "swell_a-key"
ENDPOINT = "https://platform.example.org/api"

NewEntry = Callable[..., tuple[str, str]]


class KnownIdentities:
    """Ada has a key."""

    async def identify(self, token: str | None, endpoint: str | None) -> Identity:
        if token not in {None, "", KEY}:
            raise Unauthorized
        return ADA if token else ANONYMOUS


@pytest.fixture
def open_door() -> Authenticator:
    return Authenticator(KnownIdentities(), anonymous_access=True)


@pytest.fixture
def closed_door() -> Authenticator:
    return Authenticator(KnownIdentities(), anonymous_access=False)


@pytest.mark.parametrize("endpoint", [None, ENDPOINT])
async def test_a_known_token_identifies_its_user(
    open_door: Authenticator, closed_door: Authenticator, endpoint: str
) -> None:
    """Nextflow sends the Platform's URL with each token, also with this server's API keys."""
    for door in (open_door, closed_door):
        assert await door.authenticate(KEY, endpoint) == ADA


@pytest.mark.parametrize("token", [None, ""])
async def test_a_client_without_a_token_is_anonymous(open_door: Authenticator, token: str | None) -> None:
    """An endpoint alone says nothing."""
    assert (await open_door.authenticate(token, ENDPOINT)).is_anonymous


async def test_an_unknown_token_is_refused(open_door: Authenticator) -> None:
    """Who mistyped it must not end up with the small limits of the anonymous; a good header does not help."""
    with pytest.raises(Unauthorized):
        await open_door.authenticate("swell_another", bearer=KEY)


async def test_a_token_of_a_platform_that_is_not_paired_is_refused_by_its_address(open_door: Authenticator) -> None:
    """400 as in Wave: it may be a good token over there, so the address is what to mend."""
    with pytest.raises(EndpointUnpaired, match=f"{ENDPOINT} is not paired"):
        await open_door.authenticate("swell_another", ENDPOINT)


async def test_a_header_counts_when_the_body_brings_nothing(open_door: Authenticator) -> None:
    """Clients that cannot change the body authenticate with a header."""
    assert await open_door.authenticate("", bearer=KEY) == ADA


async def test_a_header_that_we_do_not_know_is_not_for_us(open_door: Authenticator) -> None:
    """It may be a proxy's in front of us."""
    assert (await open_door.authenticate(None, bearer="a proxy's")).is_anonymous


async def test_an_issued_key_that_is_not_known_does_not_become_anonymous(open_door: Authenticator) -> None:
    """It has the prefix of this server's keys: it was revoked, so the request is refused."""
    with pytest.raises(Unauthorized, match="was revoked"):
        await open_door.authenticate(None, bearer=api_key.new_key())


@pytest.mark.parametrize("bearer_", [None, "a proxy's"])
async def test_anonymous_clients_are_refused_if_accounts_are_required(
    closed_door: Authenticator, bearer_: str | None
) -> None:
    """401, with the header that RFC 9110 wants: Java's client breaks without it."""
    with pytest.raises(Unauthorized, match="no anonymous requests") as refused:
        await closed_door.authenticate(None, bearer=bearer_)

    assert refused.value.status == 401
    assert headers_of(refused.value) == {"www-authenticate": "Bearer"}


def keep(path: Path, *keys: str, user: str = "ada") -> None:
    path.write_text("".join(entry_of(ApiKey(hash=hash_of(key), user=user, email="a@example.org")) for key in keys))


async def test_a_key_opens_as_long_as_it_stands_in_the_file(tmp_path: Path) -> None:
    """Taking one away needs no restart; several may be of one user."""
    file, first, second = tmp_path / "keys.toml", new_key(), new_key()
    keep(file, first, second)
    keys = IdentitySources(ApiKeys(file))
    for key in (first, second):
        identity = await keys.identify(key, ENDPOINT)
        assert (identity.user, identity.email) == ("ada", "a@example.org")

    keep(file, second)

    assert (await keys.identify(second, None)).user == "ada"
    with pytest.raises(Unauthorized):
        await keys.identify(first, None)


@pytest.mark.parametrize("token", ["", " ", KEY, "\udc80", "é", "x" * 100_000])
async def test_only_the_key_itself_opens(tmp_path: Path, token: str) -> None:
    """Not its hash either, which more people can read."""
    file, key = tmp_path / "keys.toml", new_key()
    keep(file, key)
    keys = IdentitySources(ApiKeys(file))
    for wrong in (hash_of(key), key.upper(), key + "x", key[:-1], token):
        if wrong:
            with pytest.raises(Unauthorized):
                await keys.identify(wrong, None)


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_file_there_are_no_keys(token: str | None) -> None:
    """A server without keys serves anonymous requests only."""
    assert await IdentitySources(ApiKeys(None)).identify(token, ENDPOINT) is ANONYMOUS
    with pytest.raises(Unauthorized):
        await IdentitySources(ApiKeys(None)).identify(KEY, None)


async def test_a_file_that_broke_later_changes_nothing(tmp_path: Path) -> None:
    """Who is known stays known while the operator mends it; the log says it once."""
    file, key = tmp_path / "keys.toml", new_key()
    keep(file, key)
    keys = IdentitySources(ApiKeys(file))
    file.write_text("[[key]]\nuser = ")
    with capture_logs() as lines:
        for _ in range(3):
            assert (await keys.identify(key, None)).user == "ada"

    assert [line["event"] for line in lines] == ["API keys not read again"]


@pytest.mark.parametrize(
    "content",
    [
        "[[key]]\nuser = 'ada'\n",
        "[[key]]\nhash = 'short'\nuser = 'ada'\n",
        f"[[key]]\nhash = '{64 * 'a'}'\nuser = ''\n",
        f"[[key]]\nhash = '{64 * 'a'}'\nuser = 'ada'\norganization = 'x'\n",
        "key = 1\n",
        "nonsense",
        b"\xff",
        None,
    ],
)
def test_a_file_that_makes_no_sense_stops_the_service(tmp_path: Path, content: str | bytes | None) -> None:
    """A misspelt member must not become an anonymous user."""
    file = tmp_path / "keys.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SettingsInvalid, match=r"keys\.toml"):
        IdentitySources(ApiKeys(file))


@pytest.fixture
def new_entry(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> NewEntry:
    """Run `python -m gateway.keys new` in this process; return what it prints, on stdout and on stderr."""

    def run(*options: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["gateway.keys", "new", *options])
        keys_command.main()
        printed = capsys.readouterr()
        return printed.out, printed.err

    return run


async def test_what_the_command_prints_can_stand_in_the_file(tmp_path: Path, new_entry: NewEntry) -> None:
    """The file has only the hash: its readers cannot use the key."""
    entry, shown = new_entry("--user", "ada", "--email", "ada@example.org", "--org", 'Größe "&" \\Co')
    file = tmp_path / "keys.toml"
    file.write_text(entry)
    (key,) = (word for word in shown.split() if word.startswith("swell_"))

    found = await IdentitySources(ApiKeys(file)).identify(key, None)

    assert (found.user, found.email, found.organisation) == ("ada", "ada@example.org", 'Größe "&" \\Co')
    assert found.scopes == USER_SCOPES
    assert found.key_id == f"file-{hash_of(key)[:16]}"
    assert len(key) >= len("swell_") + 128 // 6
    assert key not in entry


def test_a_user_without_a_proper_name_gets_no_key(new_entry: NewEntry, capsys: pytest.CaptureFixture[str]) -> None:
    """The file would be invalid for the gateway, so the command refuses the name."""
    with pytest.raises(SystemExit, match="user"):
        new_entry("--user", "ada lovelace")

    assert capsys.readouterr().out == ""


PROXIES = networks(["10.0.0.0/8", "192.0.2.1", "2001:db8:ffff::/48"])


def scope(socket: str | None, *forwarded: str, header: str = "x-forwarded-for") -> Any:
    headers = [(b"host", b"a"), *((header.encode(), text.encode("latin-1")) for text in forwarded)]
    return {"client": (socket, 4711) if socket else None, "headers": headers}


@pytest.mark.parametrize(
    ("socket", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # no proxy of ours: any client can write a header
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.1, 10.2.3.4,192.0.2.1"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),  # only proxies: the farthest
        ("10.0.0.1", ["203.0.113.9, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["203.0.113.9, \xff"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:5000"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:5000"], "2001:db8::/64"),
        ("::ffff:10.0.0.1", ["2001:db8::ffff:1"], "2001:db8::/64"),
        ("2001:db8:ffff::1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        (None, ["198.51.100.1"], "unknown"),
        ("a socket's path", ["198.51.100.1"], "unknown"),
    ],
)
def test_a_header_is_believed_as_far_as_our_proxies_wrote_it(
    socket: str | None, forwarded: list[str], address: str
) -> None:
    """Otherwise a client would choose whose limit it uses up."""
    assert ClientAddress(PROXIES)(scope(socket, *forwarded)) == address


def test_without_proxies_no_header_is_believed() -> None:
    """A client could otherwise choose the address that limits count for."""
    assert ClientAddress()(scope("10.0.0.1", "198.51.100.1")) == "10.0.0.1"


def test_a_proxy_may_have_a_header_of_its_own() -> None:
    """And then no other counts, which it might let through."""
    address = ClientAddress(PROXIES, "CF-Connecting-IP")

    assert address(scope("10.0.0.1", "198.51.100.1", header="cf-connecting-ip")) == "198.51.100.1"
    assert address(scope("10.0.0.1", "198.51.100.1")) == "10.0.0.1"


def test_addresses_in_one_ipv6_network_are_one_client() -> None:
    """One client usually has a network of 2^64 addresses."""
    address = ClientAddress()

    assert address(scope("2001:db8::1")) == address(scope("2001:db8::ffff:2")) != address(scope("2001:db8:0:1::1"))


@pytest.mark.parametrize("text", ["10.0.0.1/8", "nonsense", "10.0.0.0/33"])
def test_a_network_that_is_none_stops_the_service(text: str) -> None:
    """An ignored setting would let clients forge addresses, or merge all of them into one."""
    with pytest.raises(SettingsInvalid, match="SWELL_TRUSTED_PROXIES"):
        networks([text])


@pytest.mark.parametrize(
    ("header", "token"),
    [
        (b"Bearer abc", "abc"),
        (b"bearer  abc ", "abc"),
        (b"Bearer", None),
        (b"Bearer ", None),
        (b"Basic YTpi", None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_a_bearer_is_read_from_its_header(header: bytes, token: str | None) -> None:
    """Other schemes and empty tokens are ignored."""
    assert bearer([(b"x", b"Bearer no"), (b"authorization", header)]) == token


async def test_a_caller_is_who_asks_and_from_where(open_door: Authenticator) -> None:
    """Limits need the address of anonymous callers as well."""
    callers = Callers(open_door, ClientAddress())
    asked = scope("203.0.113.9", KEY)
    asked["headers"].append((b"authorization", f"Bearer {KEY}".encode()))

    assert await callers.identify(asked) == Caller(ADA, "203.0.113.9")
    assert await callers.identify(scope("203.0.113.9"), KEY, ENDPOINT) == Caller(ADA, "203.0.113.9")
    assert await callers.identify(scope("203.0.113.9"), "", ENDPOINT) == Caller(ANONYMOUS, "203.0.113.9")


def test_an_anonymous_identity_is_small() -> None:
    """It is kept with every request."""
    assert msgspec.json.encode(ANONYMOUS) == b"{}"


def test_a_key_has_256_bits_and_can_be_recognised() -> None:
    """Scanners for leaked secrets look for the prefix; 43 characters of base64 are 32 bytes."""
    assert re.fullmatch(r"swell_[A-Za-z0-9_-]{43}", new_key())
    assert new_key() != new_key()


def test_a_key_is_stored_as_its_sha256() -> None:
    """The vector is FIPS 180-4's, for "abc"."""
    assert hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("change", ["inode", "time", "size"])
async def test_any_change_of_the_file_is_seen(tmp_path: Path, change: str) -> None:
    """A revoked key must not live on because an editor kept the file's time, or wrote as many bytes."""
    file, first, second = tmp_path / "keys.toml", new_key(), new_key()
    keep(file, first)
    os.utime(file, ns=(10**18, 10**18))
    keys = IdentitySources(ApiKeys(file))

    text = file.read_text().replace(hash_of(first), hash_of(second)) + ("# longer\n" if change == "size" else "")
    if change == "inode":
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(file)
    else:
        file.write_text(text)
    time = 10**18 + (1 if change == "time" else 0)
    os.utime(file, ns=(time, time))

    assert (await keys.identify(second, None)).user == "ada"
    with pytest.raises(Unauthorized):
        await keys.identify(first, None)


@pytest.mark.parametrize(("length", "is_valid"), [(200, True), (201, False)])
def test_a_users_name_has_at_most_200_characters(tmp_path: Path, length: int, is_valid: bool) -> None:
    """It becomes a part of keys in Redis and of every record."""
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nhash = "{hash_of("k")}"\nuser = "{"u" * length}"\n')
    if is_valid:
        IdentitySources(ApiKeys(file))
    else:
        with pytest.raises(SettingsInvalid):
            IdentitySources(ApiKeys(file))


@pytest.mark.parametrize(
    ("scopes", "repositories", "pulls_as", "pushes_as"),
    [
        ((), (), PUBLIC, PUBLIC),
        (("operator-pull",), (), OPERATOR, PUBLIC),
        (("operator-push",), (), PUBLIC, OPERATOR),
        (("operator-pull", "operator-push"), ("quay.io/team",), "operator:quay.io/team", "operator:quay.io/team"),
        ((), ("quay.io/team",), PUBLIC, PUBLIC),
    ],
)
async def test_a_key_opens_what_its_scopes_say(
    tmp_path: Path, scopes: tuple[str, ...], repositories: tuple[str, ...], pulls_as: str, pushes_as: str
) -> None:
    """A key without scopes gives no access to private repositories, so older files stay safe."""
    file, key = tmp_path / "keys.toml", new_key()
    fields = {"hash": hash_of(key), "user": "ada", "scopes": scopes, "repositories": repositories}
    file.write_text(entry_of(msgspec.convert(fields, ApiKey)))

    identity = await IdentitySources(ApiKeys(file)).identify(key, None)

    assert (identity.pulls_as, identity.pushes_as) == (pulls_as, pushes_as)


@pytest.mark.parametrize(
    "wrong", ['scopes = ["operator"]', 'repositories = ["https://quay.io"]', 'repositories = ["a..b"]']
)
def test_a_scope_that_does_not_exist_is_a_mistake(tmp_path: Path, wrong: str) -> None:
    """A key that opens something else than its operator thinks is worse than none."""
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nhash = "{hash_of("a")}"\nuser = "ada"\n{wrong}\n')

    with pytest.raises(SettingsInvalid):
        IdentitySources(ApiKeys(file))


async def test_a_key_names_the_secrets_that_its_builds_may_use(tmp_path: Path, new_entry: NewEntry) -> None:
    """Without `secrets`, as in older files, it may use none."""
    file, key, other = tmp_path / "keys.toml", new_key(), new_key()
    keep(file, other)
    entry, _ = new_entry("--user", "ada", "--secret", "npm", "--secret", "pip")
    made = msgspec.toml.decode(entry)["key"][0]["hash"]
    with file.open("a") as keys:
        keys.write(entry.replace(made, hash_of(key)))

    assert (await IdentitySources(ApiKeys(file)).identify(key, None)).secrets == {"npm", "pip"}
    assert (await IdentitySources(ApiKeys(file)).identify(other, None)).secrets == frozenset()


def test_the_tool_makes_keys_with_scopes(new_entry: NewEntry) -> None:
    """As the operator is to type it."""
    options = ["--scope", "operator-pull", "--scope", "operator-push", "--repository", "quay.io/team"]
    entry, _ = new_entry("--user", "ada", *options)

    assert 'scopes = ["operator-pull","operator-push"]' in entry
    assert 'repositories = ["quay.io/team"]' in entry


@pytest.mark.parametrize(
    ("written", "scopes"),
    [
        ((), USER_SCOPES),
        (("operator-pull", "administer"), USER_SCOPES | {Scope.OPERATOR_PULL, Scope.ADMINISTER}),
        (("pull",), {Scope.PULL}),
        (("pull", "operator-pull"), {Scope.PULL, Scope.OPERATOR_PULL}),
    ],
)
async def test_a_key_is_limited_to_the_scopes_of_users_that_it_lists(
    tmp_path: Path, written: tuple[Scope, ...], scopes: frozenset[Scope]
) -> None:
    """Entries from before there were limits list no scope of users, and stay without limits."""
    file = tmp_path / "keys.toml"
    file.write_text(entry_of(ApiKey(hash=hash_of(KEY), user="ada", scopes=written)))

    assert (await IdentitySources(ApiKeys(file)).identify(KEY, None)).scopes == scopes


class Administrators:
    """Ada may administer; Bob may not."""

    async def identify(self, token: str, endpoint: str | None) -> Identity | None:
        scopes = {"ada": USER_SCOPES | {Scope.ADMINISTER}, "bob": USER_SCOPES}
        return Identity(user=token, scopes=scopes[token]) if token in scopes else None


@pytest.mark.parametrize(("token", "error"), [("ada", None), ("bob", ScopeRequired), ("eve", AccountRequired)])
async def test_a_key_with_the_scope_administer_is_an_operators(token: str, error: type[Exception] | None) -> None:
    """Operators need no password of an account; an unknown token counts as a guess, as a wrong password does."""
    limiter = GuessLimiter(Quota(1, 3600))
    authenticator = Authenticator(IdentitySources(Administrators()), anonymous_access=True)
    callers = Callers(authenticator, ClientAddress(), limiter)
    request = scope("203.0.113.9", f"Bearer {token}", header="authorization")

    if error is None:
        assert await callers.require_operator(request, Accounts({})) == "ada"
        return
    with pytest.raises(error):
        await callers.require_operator(request, Accounts({}))
    if error is AccountRequired:
        with pytest.raises(TooManyRequests):
            limiter.check("203.0.113.9")
