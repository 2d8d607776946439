"""Issuers of OpenID Connect tokens that the operator trusts, and the identity that the claims of a token give."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.domain.access.identity import OPERATORS_SCOPES, SECRET_NAME, USER_SCOPES, Identity, Scope
from swell.errors import BadRequest, TokenInvalid
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal, limited_to, parse_scope

MAX_USER = 200  # characters
MAX_GROUPS = 200
MAX_TEXT = 320  # characters of an e-mail address, an organisation or a group

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
"""Signatures with a public key. `none` and HMAC are not among them: with HMAC, the public key would be the secret."""

Text = Annotated[str, Meta(min_length=1, max_length=500)]
Repository = Annotated[str, Meta(pattern=r"^[a-z0-9.:/\[\]_-]+\Z", max_length=255)]
Claims = Mapping[str, Any]
Conditions = dict[Text, Text | Annotated[tuple[Text, ...], Meta(min_length=1, max_length=100)]]
"""By claim: the value that it must have, or one of several. A value that ends with `*` is a prefix. A claim with a list
of values needs one of them."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tokens with the claims `when` may do in addition; `repositories` limits the operator's credentials."""

    when: Conditions
    scopes: tuple[Scope, ...] = ()
    repositories: Annotated[tuple[Repository, ...], Meta(max_length=8)] = ()
    secrets: Annotated[tuple[Annotated[str, Meta(pattern=rf"^{SECRET_NAME}\Z")], ...], Meta(max_length=100)] = ()


class Issuer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An issuer, at `url`, and how its claims are read.

    - `audience` are the values of `aud` that tokens for this server have; by default, its URL.
    - `required` are claims that every token must have. It is not optional: issuers such as GitHub's give tokens to
      all users. An empty table accepts every token for this audience.
    - Users are named `<prefix><value of the claim user>`; the default of `prefix` is `oidc:<name>:`.
    - `email` is used if the claim `email_verified` is true, or with `emails_are_verified`.
    - `scopes` are what users may do; `rule` gives more to some of them.
    - `leeway` is how many seconds the clock of the issuer may differ.
    - With `client_id`, users sign in with a browser at this issuer. `client_secret_file` has the secret of the client,
      if it has one.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}\Z")]
    url: Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z", max_length=500)]
    required: Conditions
    audience: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1)] = ("RS256", "PS256", "ES256", "EdDSA")
    prefix: Annotated[str, Meta(pattern=r"^\S*\Z", max_length=60)] | None = None
    user: Text = "sub"
    email: Text = "email"
    emails_are_verified: bool = False
    organisation: str = ""
    groups: str = "groups"
    scopes: tuple[Scope, ...] = tuple(sorted(USER_SCOPES))
    rule: Annotated[tuple[Rule, ...], Meta(max_length=100)] = ()
    leeway: Annotated[int, Meta(ge=0, le=300)] = 60
    client_id: str = ""
    client_secret_file: str = ""
    client_scopes: str = "openid email profile"

    @property
    def user_prefix(self) -> str:
        return f"oidc:{self.name}:" if self.prefix is None else self.prefix


class IssuerFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file: a table `[[issuer]]` per issuer."""

    issuer: Annotated[tuple[Issuer, ...], Meta(max_length=20)] = ()


def identity_of(issuer: Issuer, claims: Claims) -> Identity:
    """Return the identity that verified *claims* of *issuer* give.

    Raises:
        TokenInvalid: a required claim has another value, or the user has no name.
    """
    for name in issuer.required:
        if not matches(claims, {name: issuer.required[name]}):
            raise TokenInvalid(f"the token's claim {name} is not one that this server accepts")
    user = f"{issuer.user_prefix}{text_of(claims, issuer.user)}"
    if user == issuer.user_prefix or len(user) > MAX_USER or any(char.isspace() for char in user):
        raise TokenInvalid(f"the token's claim {issuer.user} is not the name of a user")
    rules = [rule for rule in issuer.rule if matches(claims, rule.when)]
    scopes = frozenset(issuer.scopes).union(*(rule.scopes for rule in rules))
    is_verified = issuer.emails_are_verified or claims.get("email_verified") is True
    return Identity(
        user=user,
        email=text_of(claims, issuer.email) if is_verified else "",
        organisation=text_of(claims, issuer.organisation),
        groups=texts_of(claims, issuer.groups),
        pulls_as=_principal(issuer, rules, Scope.OPERATOR_PULL),
        pushes_as=_principal(issuer, rules, Scope.OPERATOR_PUSH),
        secrets=frozenset[str]().union(*(rule.secrets for rule in rules)),
        scopes=scopes & (USER_SCOPES | OPERATORS_SCOPES),
        expires=expiry_of(claims),
    )


def expiry_of(claims: Claims) -> datetime:
    """Return when the token expires.

    Raises:
        TokenInvalid: the claim `exp` is no time.
    """
    try:
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        raise TokenInvalid("the token has no valid expiry time") from error


def matches(claims: Claims, conditions: Conditions) -> bool:
    """Return whether *claims* meet all *conditions*."""
    return all(
        any(_equals(actual, value) for actual in _values(claims, name) for value in _several(expected))
        for name, expected in conditions.items()
    )


def text_of(claims: Claims, name: str) -> str:
    """Return the text of the claim *name*; empty if it is missing, too long, or something else."""
    value = _value(claims, name) if name else None
    return value if isinstance(value, str) and len(value) <= MAX_TEXT and value.isprintable() else ""


def texts_of(claims: Claims, name: str) -> tuple[str, ...]:
    """Return the texts in the claim *name*, at most 200 of them."""
    values = _values(claims, name) if name else []
    return tuple(value for value in values if 0 < len(value) <= MAX_TEXT and value.isprintable())[:MAX_GROUPS]


def check_issuer(issuer: Issuer) -> None:
    """Check what the types of the fields do not say.

    Raises:
        ValueError: a repository is not `registry` or `registry/path`.
    """
    for rule in issuer.rule:
        for repository in rule.repositories:
            try:
                parse_scope(repository)
            except BadRequest as error:
                raise ValueError(f"issuer {issuer.name}: {repository} is not registry or registry/path") from error


def parse_issuers(content: bytes) -> tuple[Issuer, ...]:
    """Parse the file of issuers.

    Raises:
        ValueError: it has another form; the message names the field.
    """
    issuers = msgspec.toml.decode(content, type=IssuerFile).issuer
    for kind, values in (("name", [each.name for each in issuers]), ("url", [each.url for each in issuers])):
        if len(set(values)) != len(values):
            raise ValueError(f"two issuers have the same {kind}")
    if sum(bool(each.client_id) for each in issuers) > 1:
        raise ValueError("only one issuer may have a client_id: users sign in there")
    for each in issuers:
        check_issuer(each)
    return issuers


def _principal(issuer: Issuer, rules: list[Rule], scope: Scope) -> Principal:
    """The operator's credentials that *scope* opens; a rule with repositories opens only these."""
    if scope in issuer.scopes:
        return OPERATOR
    principal = PUBLIC
    for rule in rules:
        if scope in rule.scopes:
            if not rule.repositories:
                return OPERATOR
            principal = limited_to(map(parse_scope, rule.repositories), principal)
    return principal


def _value(claims: Claims, name: str) -> Any:
    """The claim *name*; `a.b` is the member `b` of the claim `a`, unless there is a claim of this name."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _values(claims: Claims, name: str) -> list[str]:
    value = _value(claims, name)
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, str | int):
        return [str(value)]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _several(expected: str | tuple[str, ...]) -> tuple[str, ...]:
    return (expected,) if isinstance(expected, str) else expected


def _equals(actual: str, expected: str) -> bool:
    return actual.startswith(expected[:-1]) if expected.endswith("*") else actual == expected
