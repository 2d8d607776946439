"""Inline layers are bounded by their unpacked size, not only by the size of the request."""

import gzip
import io
import tarfile
import zlib
from base64 import b64encode

import pytest

from gateway.submit.rules.layers import InlineLayers, validate_config
from gateway.submit.rules.sizes import is_slow_to_validate
from swell.api.containers import ContainerConfig, ContainerLayer, ContainerRequest
from swell.api.packages import Packages
from swell.errors import TooLarge
from swell.oci.digest import digest_of

NOTHING = ContainerLayer("data:")


def zeros(size: int) -> bytes:
    """A layer that unpacks to a thousand times its size."""
    return gzip.compress(bytes(size))


def test_all_layers_of_a_request_share_one_limit() -> None:
    """A hundred layers just below a limit of their own would use a processor for minutes."""
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
def test_requests_that_are_slow_to_validate_are_recognised(request_: ContainerRequest) -> None:
    """They are validated in a thread, so that other requests need not wait."""
    assert is_slow_to_validate(request_)


def test_most_requests_are_validated_in_the_event_loop() -> None:
    """A thread would make them slower."""
    container_request = ContainerRequest(container_image="a", container_config=ContainerConfig(layers=(NOTHING,)))

    assert not is_slow_to_validate(container_request)


def test_layers_that_are_packed_twice_are_bounded_together() -> None:
    """A request of a megabyte had a hundred layers of 16 MiB, each zeros that were packed without compression."""

    def packed(number: int) -> ContainerLayer:
        with io.BytesIO() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                tar.addfile(tarfile.TarInfo(str(number)))
                member = tarfile.TarInfo("zeros")
                member.size = 12 << 20
                tar.addfile(member, io.BytesIO(bytes(member.size)))
            content = gzip.compress(file.getvalue(), 0)
        return ContainerLayer(location="gzip:" + b64encode(zlib.compress(content)).decode())

    layers = tuple(map(packed, range(3)))
    assert sum(len(each.location) for each in layers) < 200_000

    with pytest.raises(TooLarge, match="together"):
        validate_config(ContainerConfig(layers=layers), InlineLayers())


def test_what_is_packed_twice_is_unpacked_in_a_thread() -> None:
    """2,500 characters became a tar of 1 GiB, and no other client got an answer meanwhile."""
    layer = ContainerLayer("gzip:" + b64encode(zlib.compress(zeros(10))).decode())

    assert is_slow_to_validate(ContainerRequest(container_config=ContainerConfig(layers=(layer,))))
    assert is_slow_to_validate(ContainerRequest(build_context=layer))
