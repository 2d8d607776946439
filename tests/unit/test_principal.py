"""Credential principals: records and messages without one are the public's."""

from typing import Any

import msgspec
import pytest

from gateway.domain.grant import Grant
from registry_proxy.domain.link import Link
from registry_proxy.handlers.images import from_proto
from swell.jobs.messages import BuildJob, IndexJob, InspectJob
from swell.registry.principal import OPERATOR, PUBLIC
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
    """A record from before there were principals opens nothing but what anybody may read."""
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
