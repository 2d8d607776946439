"""Credential principals: records and messages without one are the public's."""

from typing import Any

import msgspec
import pytest

from gateway.domain.grant import Grant
from registry_proxy.domain.link import Link
from registry_proxy.handlers.images import from_proto
from swell.jobs.messages import BuildJob, IndexJob, InspectJob
from swell.oci.reference import parse_reference
from swell.registry.credentials.principal import (
    OPERATOR,
    PUBLIC,
    Principal,
    limited_to,
    opens,
    opens_everything,
    owners_of,
    scopes_of,
    with_owners,
)
from swell.rpc.v1 import images_pb2 as pb
from swell.store.records import Submission

OLD: dict[Any, bytes] = {
    Grant: b'{"token":"t","image":"a:1","platform":"linux/amd64","created":"2026-11-29T20:00:00Z",'
    b'"expires":"2026-11-30T20:00:00Z"}',
    Submission: b'{"container_id":"a","target_image":"a:1","containerfile":"FROM a","platform":"linux/amd64",'
    b'"created":"2026-11-29T20:00:00Z"}',
    BuildJob: b'{"id":"a","target_image":"a:1","containerfile":"FROM a","platform":"linux/amd64"}',
    InspectJob: b'{"id":"a","reply":"r","deadline":"2026-11-29T20:00:00Z","image":"a:1"}',
    Link: b'["upstream","a.example","tool","sha256:%s",1,"",1,false,"mark"]' % (b"a" * 64),
}


@pytest.mark.parametrize("kind", OLD, ids=lambda kind: kind.__name__)
def test_what_was_written_without_a_principal_is_the_publics(kind: Any) -> None:
    """A record from before there were principals gives access only to what all clients may read."""
    assert msgspec.json.decode(OLD[kind], type=kind).principal == PUBLIC


@pytest.mark.parametrize("kind", [Submission, BuildJob])
def test_what_was_written_without_a_principal_pushes_as_the_public(kind: Any) -> None:
    """The same for the repository that is pushed to."""
    assert msgspec.json.decode(OLD[kind], type=kind).push_principal == PUBLIC


def test_an_index_of_old_pushes_as_the_public() -> None:
    """Indexes are pushed as images are."""
    job = b'{"id":"a","target_image":"a:1","platform":"linux/amd64,linux/arm64"}'

    assert msgspec.json.decode(job, type=IndexJob).push_principal == PUBLIC


def test_a_pull_of_an_older_gateway_is_the_publics() -> None:
    """Gateways are upgraded one after the other."""
    pull = pb.Pull(token="t", image="a:1", platform="linux/amd64")

    assert from_proto(pull).principal == PUBLIC


def test_a_pull_carries_its_principal() -> None:
    """The registry-proxy reads with the credentials that the gateway names."""
    pull = pb.Pull(token="t", image="a:1", platform="linux/amd64", principal=OPERATOR)

    assert from_proto(pull).principal == OPERATOR


def test_a_principal_has_the_credentials_of_several_sources() -> None:
    """The operator's for one repository do not take away those that a user has stored, and the other way round."""
    ada = with_owners("vault", ["user:ada", "org:a;b,c"])

    for principal in (limited_to(["quay.io/acme"], ada), with_owners("vault", ["org:a;b,c", "user:ada"], _ACME)):
        assert principal == "operator:quay.io/acme;vault:org:a%3Bb%2Cc,user:ada"
        assert owners_of("vault", principal) == ("org:a;b,c", "user:ada")
        assert scopes_of(principal) == ("quay.io/acme",)
        assert opens(principal, parse_reference("quay.io/acme/tool"))
        assert not opens(principal, parse_reference("quay.io/other/tool"))


_ACME = limited_to(["quay.io/acme"])


@pytest.mark.parametrize("principal", [OPERATOR, with_owners("vault", ["user:ada"], OPERATOR)])
def test_the_operator_opens_everything_also_with_stored_credentials(principal: Principal) -> None:
    """A limit does not narrow a principal; its text stays the same, so that caches are shared."""
    assert opens_everything(principal)
    assert limited_to(["quay.io"], principal) == principal
    assert scopes_of(principal) == ()


@pytest.mark.parametrize("owner", ["operator", "x;operator", "x,operator", "operator:quay.io"])
def test_the_name_of_an_owner_opens_nothing_of_the_operators(owner: str) -> None:
    """Users choose their names."""
    principal = with_owners("vault", [owner])

    assert not opens_everything(principal)
    assert not opens(principal, parse_reference("quay.io/acme/tool"))
    assert owners_of("vault", principal) == (owner,)


def test_without_owners_a_principal_stays_public() -> None:
    """Then its cached responses are shared with all clients."""
    assert with_owners("vault", []) == PUBLIC
    assert owners_of("vault", PUBLIC) == ()
