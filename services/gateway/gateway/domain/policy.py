"""The operator's policy: which images, channels and repositories requests may name, and who uses which credentials."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import asdict, replace

from gateway.domain.access.identity import Identity
from gateway.domain.channels import denied_by
from swell.base_rules import NOTHING, BaseRules
from swell.errors import PolicyDenied
from swell.oci.reference import Reference
from swell.registry.credentials.principal import is_below, limited_to

MAX_ENTRIES = 1000


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rules of one table; None for a rule that it does not have.

    - `base_registries`: images that are built on, augmented, included or mirrored are below these, `registry` or
      `registry/path`.
    - `digest_only`: they are named by their digests.
    - `build_repositories`: besides the repositories of the server, images are pushed only below these.
    - `denied_channels`: names or URLs of Conda channels.
    """

    base_registries: tuple[str, ...] | None = None
    digest_only: bool | None = None
    build_repositories: tuple[str, ...] | None = None
    denied_channels: tuple[str, ...] | None = None

    @property
    def is_empty(self) -> bool:
        return self == Rules()


class CredentialRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may `pull` and `push` images of `repositories` with the operator's credentials."""

    repositories: tuple[str, ...]
    users: tuple[str, ...] = ()
    organisations: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    pull: bool = True
    push: bool = False

    def applies_to(self, identity: Identity) -> bool:
        if identity.is_anonymous:
            return False
        return (
            identity.user in self.users
            or (identity.organisation != "" and identity.organisation in self.organisations)
            or not set(identity.groups).isdisjoint(self.groups)
        )


class PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of the file: rules for everyone, other ones for members of an organisation, and credentials."""

    everyone: Rules = Rules()
    organisation: dict[str, Rules] = {}
    credentials: tuple[CredentialRule, ...] = ()


class Policy:
    """The rules in *file*; a rule of an organisation replaces that rule of everyone for its members."""

    def __init__(self, file: PolicyFile, own: Iterable[str] = (), revision: str = "") -> None:
        """*revision* names the content of the file; it is empty without a file."""
        self._file = file
        self._own = tuple(own)
        self.revision = revision

    def with_credentials(self, identity: Identity) -> Identity:
        """Return *identity* with the operator's credentials that the policy lets it use in addition."""
        rules = [rule for rule in self._file.credentials if rule.applies_to(identity)]
        if not rules:
            return identity
        pulls = {name for rule in rules if rule.pull for name in rule.repositories}
        pushes = {name for rule in rules if rule.push for name in rule.repositories}
        return replace(
            identity,
            pulls_as=limited_to(pulls, identity.pulls_as),
            pushes_as=limited_to(pushes, identity.pushes_as),
            by_policy=tuple(sorted(pulls)),
        )

    def check_credentials(self, identity: Identity, repositories: Iterable[str]) -> None:
        """Check that *identity* may still read *repositories* with the operator's credentials, as a policy has allowed.

        Raises:
            PolicyDenied: it may not.
        """
        allowed = self.with_credentials(identity).by_policy
        for name in repositories:
            if not any(f"{name}/".startswith(f"{scope}/") for scope in allowed):
                raise PolicyDenied(
                    f"the policy of this server no longer lets you read {name} with its credentials; the operator can "
                    "change it"
                )

    def rules_for(self, identity: Identity) -> "ClientRules":
        own = self._file.organisation.get(identity.organisation) if identity.organisation else None
        if own is None:
            return ClientRules(self._file.everyone, {}, self._own)
        replaced = {name: value for name, value in asdict(own).items() if value is not None}
        origin = f"of the organisation {identity.organisation}"
        return ClientRules(replace(self._file.everyone, **replaced), dict.fromkeys(replaced, origin), self._own)


class ClientRules:
    """The rules for one client; *origins* says which of them are those of its organisation."""

    def __init__(self, rules: Rules, origins: dict[str, str], own: tuple[str, ...]) -> None:
        self.rules = rules
        self._origins = origins
        self._own = own

    @property
    def base_rules(self) -> BaseRules:
        """What an engine has to enforce."""
        rules = self.rules
        if rules.base_registries is None and not rules.digest_only:
            return BaseRules()
        allowed = () if rules.base_registries is None else rules.base_registries or NOTHING
        return BaseRules(allowed=allowed, digest_only=bool(rules.digest_only), own=self._own)

    @property
    def limit_builds(self) -> bool:
        """Whether an image may be refused because of what it was built from."""
        return bool(self.rules.denied_channels) or not self.base_rules.is_empty

    def check_images(self, images: Iterable[Reference]) -> None:
        """Check images that are read.

        Raises:
            PolicyDenied: one of them is not allowed.
        """
        base_rules = self.base_rules
        for image in images:
            if not base_rules.allows_place(image):
                allowed = ", ".join(self.rules.base_registries or ()) or "none of the registries"
                raise self._denied("base_registries", f"allows only images below {allowed}, and not {image}")
            if not base_rules.allows_name(image):
                raise self._denied("digest_only", f"needs images with a digest, as NAME@sha256:…, and {image} has none")

    def check_origin(self, image: Reference, bases: Iterable[Reference]) -> None:
        """Check *image* of a repository of this server, which was built from *bases*, perhaps under other rules.

        Raises:
            PolicyDenied: one of *bases* is not allowed; it is not named, because the client may not know it.
        """
        if not all(map(self.base_rules.allows, bases)):
            rule = "digest_only" if all(map(self.base_rules.allows_place, bases)) else "base_registries"
            raise self._denied(rule, f"does not allow {image}, which was built from other images")

    def check_channels(self, image: Reference, channels: Iterable[str] | None) -> None:
        """Check the Conda *channels* that *image* was built with, which are None if they are not known.

        Raises:
            PolicyDenied: one of them is denied; it is not named, because the client may not know it.
        """
        denied = self.rules.denied_channels or ()
        if channels is None:
            raise self.deny_unknown_channels(f"those of {image} are not known")
        for entry in filter(None, (denied_by(channel, denied) for channel in channels)):
            raise self._denied("denied_channels", f"denies {entry}, and {image} was built with such a channel")

    def check_targets(self, targets: Iterable[Reference]) -> None:
        """Check repositories that are pushed to.

        Raises:
            PolicyDenied: one of them is not allowed.
        """
        allowed = self.rules.build_repositories
        for target in targets if allowed is not None else ():
            if not is_below(target, (*(allowed or ()), *self._own)):
                names = ", ".join(allowed or ()) or "the repositories of this server"
                raise self._denied("build_repositories", f"allows pushes only to {names}, and not to {target.name}")

    def check_place(self, repository: Reference) -> None:
        """Check a repository whose layers a build may use.

        Raises:
            PolicyDenied: it is not allowed.
        """
        if not self.base_rules.allows_place(repository):
            raise self._denied("base_registries", f"does not allow a cache in {repository.name}")

    def deny_channel(self, channel: str, entry: str) -> PolicyDenied:
        """The refusal of *channel*, which *entry* denies."""
        return self._denied(
            "denied_channels", f"denies {entry}, and the request names the Conda channel {channel[:200]}"
        )

    def deny_unknown_channels(self, reason: str) -> PolicyDenied:
        """The refusal of a request whose channels cannot be determined."""
        return self._denied("denied_channels", f"denies Conda channels, and {reason}")

    def _denied(self, rule: str, reason: str) -> PolicyDenied:
        origin = self._origins.get(rule, "")
        policy = f"this server's policy {origin}".rstrip()
        return PolicyDenied(f"the rule {rule} of {policy} {reason}; the operator can change it")
