"""Repeated pulls: answers of the last requests, sent again without waiting for anything.

Most pulls repeat one of the last few thousand: a pipeline starts hundreds of containers of one image. The answer
depends on the path and the grant only, so it is prepared once. Each request still checks the token, the vaults whose
credentials it was requested with, and the limit, and is counted.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from litestar.types import HTTPScope
from msgspec import Struct

from gateway.access.vault import Checked
from gateway.domain.grant import Grant
from gateway.http.caller import ClientAddress
from gateway.http.registry_responses import RegistryResponse
from swell.api.containers import ScanMode
from swell.observe.instruments import CacheCounter
from swell.oci.document import Document
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import Principal

MAX_PULLS = 2_000
MAX_BODY = 16 << 10  # bytes; larger manifests are answered by the handler, from the cache of documents
_LOOKUPS = CacheCounter("pulls")


class Grants(Protocol):
    def is_fresh(self, token: str, grant: Grant) -> bool:
        """Whether the store had *grant* for *token* within the last seconds, and it has not been revoked since."""


class Limits(Protocol):
    def take_pull_at_once(self, user: str, address: str) -> bool:
        """Count a manifest for *user* or *address* without waiting; return False if that is impossible."""


class Vault(Protocol):
    """The stored credentials of users, without waiting."""

    def checked(self, principal: Principal, image: Reference) -> Checked | None:
        """What allows *principal* to pull *image*; None if that is not known without waiting."""

    def still_holds(self, checked: Checked) -> bool:
        """Whether the vaults in *checked* have not changed."""


class _Answer(Struct, frozen=True, gc=False):
    """The *response* to pulls of *grant*, up to the time *until* (seconds since 1970). A redirect has no document.

    It holds while the vaults in *checked* do not change.
    """

    grant: Grant
    response: RegistryResponse
    document: Document | None
    until: float
    checked: Checked


class RecentPulls:
    """The answers by path; *count* is called with each manifest that is sent with GET, and its grant."""

    def __init__(
        self,
        grants: Grants,
        limits: Limits,
        count: Callable[[Grant, Document], None],
        address: ClientAddress,
        vault: Vault | None = None,
        allows: Callable[[Grant], bool] = lambda _: True,
    ) -> None:
        """Without a *vault*, nothing is stored for any user. *allows* is whether the policy of now allows a grant."""
        self._allows = allows
        self._vault = vault
        self._grants = grants
        self._limits = limits
        self._count = count
        self._address = address
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()

    def answer(self, scope: HTTPScope) -> RegistryResponse | None:
        """The answer to the request *scope*, which has no condition; None if the handler has to find it."""
        answer = self._answers.get(scope["raw_path"])
        if answer is None or not self._grants.is_fresh(answer.grant.token, answer.grant) or answer.until < time.time():
            return None
        if answer.checked and not (self._vault and self._vault.still_holds(answer.checked)):
            return None
        grant, document = answer.grant, answer.document
        if scope["method"] == "GET":
            if document is not None:
                if not self._limits.take_pull_at_once(grant.user, self._address(scope)):
                    return None
                self._count(grant, document)
        elif scope["method"] != "HEAD" or document is None:
            return None
        _LOOKUPS.hit()
        return answer.response

    def clear(self) -> None:
        """Forget all answers: the policy has changed."""
        self._answers.clear()

    def add_manifest(self, raw_path: bytes, grant: Grant, response: RegistryResponse, document: Document) -> None:
        """Keep the *response* with *document* for the next request, if it is small."""
        if len(response[2]) <= MAX_BODY:
            self._add(raw_path, grant, response, document, math.inf)

    def add_redirect(self, raw_path: bytes, grant: Grant, response: RegistryResponse, expires: float) -> None:
        """Keep the *response* until a minute before its location expires (seconds since 1970)."""
        self._add(raw_path, grant, response, None, expires - 60)

    def _add(
        self, raw_path: bytes, grant: Grant, response: RegistryResponse, document: Document | None, until: float
    ) -> None:
        """Keep an answer, unless each pull of *grant* has to check what this process cannot without waiting."""
        _LOOKUPS.miss()
        if grant.scan_mode is ScanMode.REQUIRED or not self._allows(grant):
            return
        checked = self._vault.checked(grant.principal, parse_reference(grant.image)) if self._vault else ()
        if checked is None:
            return
        self._answers[raw_path] = _Answer(grant, response, document, until, checked)
        if len(self._answers) > MAX_PULLS:
            self._answers.popitem(last=False)
