"""The vault: credentials for registries that users and organisations have stored.

A principal names the owners of a vault and its generation: `vault:user:ada@3`. Each change of a vault gives it a new
generation, so that no cache gives a result of former credentials to a new request. What was requested with a credential
that has been deleted since is refused.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.access.identity import Identity
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal, owners_of

KIND = "vault"
"""The kind of the owners in principals."""
MOST_ENTRIES = 50
MOST_WITHDRAWN = 200
"""Of one owner; of more, everything that was requested before the oldest of them is refused."""


class Entry(Struct, frozen=True, kw_only=True):
    """What is known of a credential without its password. `stored_by` is the user or operator who has stored it.

    Builds of its owner may read the password if it `is_build_secret`.
    """

    user_name: str
    stored: datetime
    stored_by: str
    is_build_secret: bool = False


class VaultState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The entries of one owner by `registry` or `registry/path`.

    `withdrawn` has the generation in which an entry was deleted. Requests of a generation before `floor` are refused.
    """

    generation: int = 0
    floor: int = 0
    entries: dict[str, Entry] = {}
    withdrawn: dict[str, int] = {}

    def with_entry(self, path: str, entry: Entry) -> "VaultState":
        return replace(self, generation=self.generation + 1, entries=self.entries | {path: entry})

    def without_entry(self, path: str) -> "VaultState":
        generation = self.generation + 1
        entries = {name: entry for name, entry in self.entries.items() if name != path}
        withdrawn, floor = self.withdrawn | {path: generation}, self.floor
        while len(withdrawn) > MOST_WITHDRAWN:
            oldest = min(withdrawn, key=lambda name: withdrawn[name])
            floor = max(floor, withdrawn.pop(oldest))
        return replace(self, generation=generation, entries=entries, withdrawn=withdrawn, floor=floor)

    def path_for(self, image: Reference) -> str | None:
        """The longest path of the entries that *image* is below."""
        path = image.name
        while path and path not in self.entries:
            path = path.rpartition("/")[0]
        return path or None

    def is_withdrawn(self, image: Reference, generation: int) -> bool:
        """Whether a credential for *image* was deleted after *generation*."""
        if generation < self.floor:
            return True
        return any(
            generation < deleted and f"{image.name}/".startswith(f"{path}/") for path, deleted in self.withdrawn.items()
        )


def user_owner(user: str) -> str:
    return f"user:{user}"


def organisation_owner(organisation: str) -> str:
    return f"organisation:{organisation}"


def parts_of(owner: str) -> tuple[str, str]:
    """The user and the organisation of a vault; one of them is empty."""
    kind, _, name = owner.partition(":")
    return (name, "") if kind == "user" else ("", name)


def owners_of_identity(identity: Identity) -> list[str]:
    """The owners whose vaults *identity* may use; its own one first."""
    if identity.is_anonymous:
        return []
    return [user_owner(identity.user), *([organisation_owner(identity.organisation)] if identity.organisation else [])]


def named(owner: str, state: VaultState) -> str:
    """The owner of a vault as principals name it."""
    return f"{owner}@{state.generation}"


def vaults_of(principal: Principal) -> Iterable[tuple[str, int]]:
    """The owners in *principal* with their generations, users before organisations."""
    for part in reversed(owners_of(KIND, principal)):
        owner, _, generation = part.rpartition("@")
        if owner and generation.isascii() and generation.isdigit():
            yield owner, int(generation)
