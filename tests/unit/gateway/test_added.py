"""What comes along with a request is bounded, by what it becomes and not only by what is sent."""

import gzip
from base64 import b64encode

import pytest

from gateway.submit.layers import InlineLayers
from gateway.submit.validation import is_slow_to_validate
from swell.api.containers import ContainerConfig, ContainerLayer, ContainerRequest
from swell.api.packages import Packages
from swell.errors import TooLarge
from swell.oci.digest import digest_of

NOTHING = ContainerLayer("data:")


def zeros(size: int) -> bytes:
    """A layer that is a thousandth of what it unpacks to."""
    return gzip.compress(bytes(size))


def test_all_layers_of_a_request_share_one_bound() -> None:
    """A hundred that are each just small enough would keep a processor busy for minutes."""
    data = InlineLayers(limit=10_000)
    data.add(zeros(6000), NOTHING)

    with pytest.raises(TooLarge, match="10000 bytes together"):
        data.add(zeros(6000), NOTHING)
    last = zeros(4000)
    data.add(last, NOTHING)

    assert data.blobs.keys() == {digest_of(zeros(6000)), digest_of(last)}


SMALL = ContainerLayer("data:" + b64encode(zeros(1 << 20)).decode())


@pytest.mark.parametrize(
    "request_",
    [
        ContainerRequest(container_config=ContainerConfig(layers=(SMALL,) * 100)),
        ContainerRequest(build_context=ContainerLayer("data:" + "A" * 5000)),
        ContainerRequest(packages=Packages(environment="A" * 5000)),
        ContainerRequest(packages=Packages(entries=("samtools",) * 1000)),
        ContainerRequest(container_file="A" * 5000),
        ContainerRequest(conda_file="A" * 5000),
    ],
)
def test_what_takes_long_to_read_is_known_by_its_size(request_: ContainerRequest) -> None:
    """Such a request is read beside the others, which must not wait for it."""
    assert is_slow_to_validate(request_)


def test_most_requests_are_read_at_once() -> None:
    wanted = ContainerRequest(container_image="a", container_config=ContainerConfig(layers=(NOTHING,)))

    assert not is_slow_to_validate(wanted)
