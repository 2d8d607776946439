"""The end of the release: the name of this file makes its test the last one of `make cluster-test`."""

from functools import partial

import pytest

from tests.cluster.node import Cluster, until
from tests.cluster.release import helm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]


def test_nothing_is_left_in_the_namespaces(swell: Cluster) -> None:
    """`helm uninstall` removes all pods and Services; Secrets and volumes stay."""
    helm(swell, "uninstall", "swell", "--wait", "--timeout", "20m")

    for namespace in ("swell", "swell-builders"):
        until(partial(is_empty, swell, f"/api/v1/namespaces/{namespace}/pods"), swell)
    assert not swell.get("/api/v1/namespaces/swell/services")["items"]
    assert swell.get("/api/v1/namespaces/swell/secrets/swell")


def is_empty(cluster: Cluster, path: str) -> bool:
    return not cluster.get(path)["items"]
