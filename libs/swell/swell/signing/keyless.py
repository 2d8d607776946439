"""Keyless signatures: certificates of Fulcio that end after minutes, with a timestamp and an entry in a log.

The library `sigstore` needs 60 MB of memory, and some of its requests have no time limit. So services use this module
only in a process of its own, which they end if it takes too long.

Sources: sigstore, "Client specification", https://github.com/sigstore/architecture-docs/blob/main/client-spec.md;
sigstore-python, https://sigstore.github.io/sigstore-python/
"""

import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jwt
import msgspec
from sigstore._internal.rekor.client_v2 import RekorV2Client
from sigstore._internal.trust import KeyringPurpose
from sigstore.dsse import Statement
from sigstore.models import Bundle, ClientTrustConfig, TrustedRoot
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext
from sigstore.verify.policy import AnyOf, Identity, OIDCIssuer, OIDCIssuerV2, VerificationPolicy
from sigstore.verify.verifier import Verifier
from sigstore_models.trustroot import v1 as trust

from swell.errors import ManifestInvalid, Unavailable
from swell.oci.digest import Digest
from swell.settings import SettingsInvalid
from swell.signing.bundles import predicate_of
from swell.signing.statements import IN_TOTO, Unsigned

CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
CLAIMS = {"aud", "sub", "iat", "exp", "iss"}
STEP = 20.0
"""Seconds for a certificate, or for the timestamp and the log entry of a statement."""
MOST_REASON = 400  # characters


class Keyless:
    """Signs as the identity of *token*; *trusted_root* and *signing_config* are files as `cosign` creates them.

    *token* is a JSON Web Token for *audience*. It may have expired: it is only needed for new signatures.

    Raises:
        SettingsInvalid: one of them cannot be used; the message does not contain the token.
    """

    def __init__(self, trusted_root: bytes, signing_config: bytes, token: str, audience: str) -> None:
        self._config = _config_of(trusted_root, signing_config)
        self._verifier = Verifier(trusted_root=self._config.trusted_root)
        self._token, self._audience = token.strip(), audience
        issuer = _issuer_of(self._token, audience)
        self._policy = AnyOf([OIDCIssuer(issuer), OIDCIssuerV2(issuer)])

    def sign(self, statements: Sequence[Unsigned]) -> list[bytes]:
        """Return the bundles of *statements*, in their order: those that are stored, if valid, and new ones.

        All new ones have the same certificate. A stored one must have the issuer of the token, in its certificate.

        Raises:
            Unavailable: a server refuses, fails or is too slow, or the token has expired.
        """
        bundles = [self._stored(each) for each in statements]
        new = iter(self._signed([each for each, bundle in zip(statements, bundles, strict=True) if bundle is None]))
        return [bundle or next(new) for bundle in bundles]

    def _stored(self, statement: Unsigned) -> bytes | None:
        try:
            self._check(statement.stored or b"", statement)
        except ManifestInvalid:
            return None
        return statement.stored

    def _signed(self, statements: Sequence[Unsigned]) -> Iterator[bytes]:
        if not statements:
            return
        with _step("Fulcio gave no certificate"):
            context = SigningContext.from_trust_config(self._config)
            signing = context.signer(IdentityToken(self._token, self._audience))
            signer = signing.__enter__()  # there is nothing to close
        for statement in statements:
            with _warnings() as warnings:
                with _step("there is no timestamp or log entry"):
                    bundle = signer.sign_dsse(Statement(statement.content)).to_json().encode()
                try:
                    self._check(bundle, statement)
                except ManifestInvalid as error:
                    raise Unavailable(_short("the new bundle is not valid", error, *warnings)) from error
            yield bundle

    def _check(self, bundle: bytes, statement: Unsigned) -> None:
        _verified(self._verifier, bundle, self._policy, statement.digest, statement.predicate_type)


def verify(
    bundle: bytes, trusted_root: bytes, identity: str, issuer: str, digest: Digest, predicate_type: str
) -> dict[str, Any]:
    """Return the predicate of *bundle* if *identity* signed it, for *digest* and with *predicate_type*.

    *identity* and *issuer* are those of the certificate, as for `cosign verify`.

    Raises:
        ManifestInvalid: it is malformed, signed by another identity, or about something else.
        SettingsInvalid: *trusted_root* cannot be used.
    """
    try:
        verifier = Verifier(trusted_root=TrustedRoot(trust.TrustedRoot.from_json(trusted_root)))
    except Exception as error:
        raise SettingsInvalid(_short("the trusted root cannot be used", error)) from error
    return _verified(verifier, bundle, Identity(identity=identity, issuer=issuer), digest, predicate_type)


def _verified(
    verifier: Verifier, bundle: bytes, policy: VerificationPolicy, digest: Digest, predicate_type: str
) -> dict[str, Any]:
    try:
        kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), policy)
    except Exception as error:
        raise ManifestInvalid(_short("the bundle is not signed by a trusted identity", error)) from error
    if kind != IN_TOTO:
        raise ManifestInvalid(f"the bundle is no {predicate_type} of {digest}")
    return predicate_of(payload, digest, predicate_type)


def _config_of(trusted_root: bytes, signing_config: bytes) -> ClientTrustConfig:
    fields = {"mediaType": CONFIG, "trustedRoot": _object(trusted_root), "signingConfig": _object(signing_config)}
    try:
        config = ClientTrustConfig.from_json(msgspec.json.encode(fields).decode())
        root, services = config.trusted_root, config.signing_config
        root.get_fulcio_certs()
        root.ct_keyring(KeyringPurpose.SIGN)
        root.rekor_keyring(KeyringPurpose.VERIFY)
        has_timestamps = bool(root.get_timestamp_authorities() and services.get_tsas())
        has_times = not isinstance(services.get_tlogs()[0], RekorV2Client)
    except Exception as error:
        raise SettingsInvalid(_short("the trusted root or the signing config cannot be used", error)) from error
    if not (has_timestamps or has_times):
        raise SettingsInvalid("the log has no times of its own, so both files must have a timestamp authority")
    return config


def _object(content: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SettingsInvalid("the trusted root or the signing config is no JSON object") from error


def _issuer_of(token: str, audience: str) -> str:
    """The issuer that Fulcio writes into certificates."""
    try:
        claims = jwt.decode(token, audience=audience, options={"verify_signature": False, "verify_aud": True})
    except jwt.InvalidTokenError as error:
        raise SettingsInvalid(_short(f"the token is no JSON Web Token for the audience {audience}", error)) from error
    if missing := CLAIMS - claims.keys():
        raise SettingsInvalid(f"the token has no claim {', '.join(sorted(missing))}")
    match claims:
        case {"federated_claims": {"connector_id": str(issuer)}} | {"iss": str(issuer)}:
            return issuer
    raise SettingsInvalid("the issuer of the token is no text")


@contextmanager
def _step(failed: str) -> Iterator[None]:
    """Limit the time of a step, and raise `Unavailable` with the reason that a server gives. For the main thread."""
    previous = signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, STEP)
    try:
        yield
    except Exception as error:
        raise Unavailable(_short(failed, *_causes(error))) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"no answer within {STEP:g} s")


def _causes(error: BaseException | None) -> Iterator[object]:
    """Yield *error* and what caused it, with the bodies of responses, which have the reason."""
    while error is not None:
        yield error
        if (response := getattr(error, "response", None)) is not None:
            yield response.text[:MOST_REASON]
        error = error.__cause__


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Collect the warnings of the library: a timestamp authority that fails raises nothing."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Collector(logging.WARNING)
    logging.getLogger("sigstore").addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger("sigstore").removeHandler(handler)


def _short(*parts: object) -> str:
    """Join *parts* as one line of at most `MOST_REASON` characters, without those that are empty or repeated."""
    texts = dict.fromkeys(" ".join(str(part).split()) for part in parts)
    return ": ".join(filter(None, texts))[:MOST_REASON]
