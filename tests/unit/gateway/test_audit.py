"""The chain of sealed batches, and the events of the audit trail."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.access.keys import Actor
from gateway.access.vault import Vault
from gateway.adapters.access.policies import PolicyFiles
from gateway.audit.chain import ChainBroken, seal, verify
from gateway.audit.events import Action, AuditEvent, fingerprint, renamed
from gateway.audit.refusals import MOST, SECONDS, Refusals
from gateway.domain.access.identity import Identity
from gateway.domain.access.vault import Entry, VaultState
from gateway.http.sessions import Sessions
from swell.registry.credentials.keyring import Credentials
from tests.unit.gateway.doubles import NOON, MemorySessions

EVENTS = [AuditEvent(id=str(number), time=NOON, action=Action.GRANTED, user="p") for number in range(6)]


def chain(length: int = 3) -> list[bytes]:
    contents: list[bytes] = []
    for number in range(length):
        last = contents[-1] if contents else None
        contents.append(seal(last, EVENTS[2 * number : 2 * number + 2], NOON + timedelta(seconds=number)))
    return contents


def test_a_chain_is_verified() -> None:
    """Also if its oldest batches have expired."""
    contents = chain()

    assert [checked.batch.number for checked in verify(contents)] == [1, 2, 3]
    assert [event.id for checked in verify(contents[1:]) for event in checked.batch.events] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("change", ["changed", "removed", "repeated", "swapped", "cut"])
def test_each_change_breaks_the_chain(place: int, change: str) -> None:
    """Of every batch that another one follows; the head is compared with one that is stored elsewhere."""
    contents = chain(4)
    match change:
        case "changed":
            contents[place] = contents[place].replace(b'"user":"p"', b'"user":"q"', 1)
        case "removed":
            del contents[place + 1]
        case "repeated":
            contents.insert(place, contents[place])
        case "swapped":
            contents[place], contents[place + 1] = contents[place + 1], contents[place]
        case _:
            contents[place] = contents[place][:-1]
    with pytest.raises(ChainBroken):
        list(verify(contents))


def test_a_deeply_nested_message_breaks_the_chain() -> None:
    """It is reported as any other message that is no batch."""
    with pytest.raises(ChainBroken, match="cannot be read"):
        list(verify([*chain(), b'{"x":' + b"[" * 100_000]))


def test_names_are_replaced_in_both_places() -> None:
    """The user and the actor; a name without an entry stays."""
    event = AuditEvent(id="1", time=NOON, action=Action.KEY_ISSUED, user="ada", actor="ops", subject="ada")

    assert renamed(event, {"ada": "p1"}) == AuditEvent(
        id="1", time=NOON, action=Action.KEY_ISSUED, user="p1", actor="ops", subject="ada"
    )


def test_a_fingerprint_does_not_contain_the_token() -> None:
    """The trail is read by more people than may pull the image."""
    assert fingerprint("abcdefgh") != "abcdefgh"
    assert len(fingerprint("abcdefgh")) == 16


class Recorded:
    """An audit trail in memory: each event as its action and those of its fields that are not empty."""

    def __init__(self) -> None:
        self.events: list[tuple[Action, dict[str, str]]] = []

    def record(self, action: Action, **fields: str) -> None:
        self.events.append((action, {name: value for name, value in fields.items() if value}))

    @property
    def actions(self) -> list[Action]:
        return [action for action, _ in self.events]


class OneVault:
    """A vault in memory."""

    stored = VaultState()

    async def put(self, owner: str, path: str, entry: Entry, credentials: Credentials, limit: int) -> VaultState:
        self.stored = self.stored.with_entry(path, entry)
        return self.stored

    async def delete(self, owner: str, path: str) -> VaultState:
        return self.stored

    async def state(self, owner: str) -> VaultState:
        return self.stored

    async def credentials(self, owner: str, path: str) -> None: ...

    async def vault_changed(self, owner: str) -> None: ...


async def test_changes_of_stored_credentials_are_recorded() -> None:
    """With the owner, who has changed it, and the registry, but neither user name nor password."""
    audit, stored = Recorded(), OneVault()
    vault, actor = Vault(stored, stored, audit), Actor("ops")
    await vault.put(actor, "organisation:lab", "quay.io", Credentials("robot", "secret"))
    await vault.put(actor, "organisation:lab", "quay.io", Credentials("robot", "other"))
    await vault.delete(actor, "user:ada", "quay.io")

    assert audit.events == [
        (Action.CREDENTIAL_STORED, {"organisation": "lab", "actor": "ops", "subject": "quay.io"}),
        (Action.CREDENTIAL_CHANGED, {"organisation": "lab", "actor": "ops", "subject": "quay.io"}),
        (Action.CREDENTIAL_REMOVED, {"user": "ada", "actor": "ops", "subject": "quay.io"}),
    ]


async def test_sign_ins_and_their_ends_are_recorded() -> None:
    """A session is named by the fingerprint of its secret, at both ends."""
    audit = Recorded()
    sessions = Sessions(MemorySessions(), timedelta(hours=1), tls=False, audit=audit)
    identity = Identity(user="ada", organisation="lab")
    secret = str((await sessions.start(identity)).value)
    await sessions.end(secret)
    await sessions.start(identity)
    await sessions.end_all("ada", "ops")
    await sessions.end_all("ada", "ops")

    whose = {"user": "ada", "organisation": "lab", "subject": fingerprint(secret)}
    assert audit.events[:2] == [(Action.SIGNED_IN, whose), (Action.SIGNED_OUT, whose)]
    assert audit.events[3:] == [(Action.SIGNED_OUT, {"user": "ada", "actor": "ops"})]


def test_refused_sign_ins_are_bounded() -> None:
    """Strangers cause them, and must not fill the trail; a minute later, they are recorded again."""
    audit, times = Recorded(), [0.0]
    refusals = Refusals(audit, lambda: times[0])
    for _ in range(MOST + 10):
        refusals.record("token")
    assert audit.events == [(Action.SIGN_IN_REFUSED, {"subject": "token"})] * MOST

    times[0] = SECONDS
    refusals.record("account")
    assert audit.events[MOST:] == [(Action.SIGN_IN_REFUSED, {"subject": "account"})]


def test_each_policy_that_counts_is_recorded(tmp_path: Path) -> None:
    """By the fingerprint of its file, which may be under version control; an invalid one never counts."""
    audit, path = Recorded(), tmp_path / "policy.toml"
    path.write_text("[everyone]\n")
    policies = PolicyFiles(path, (), audit)
    for number, content in enumerate(("nonsense", "[everyone]\ndigest_only = true\n"), 1):
        path.write_text(content)
        os.utime(path, (number, number))
        policies.current()

    assert audit.actions == [Action.POLICY_READ] * 2
    assert audit.events[1][1] == {"subject": fingerprint("[everyone]\ndigest_only = true\n")}
