"""The operator's numbers over HTTP, in Wave's words."""

import base64
from collections.abc import Iterator
from typing import Any

import bcrypt
import pytest
from litestar import Litestar
from litestar.di import Provide
from litestar.testing import TestClient

from gateway.access.accounts.accounts import Accounts
from gateway.access.authenticator import Authenticator, IdentitySources
from gateway.adapters.access.api_keys import ApiKeys
from gateway.handlers.metrics import challenge, metric, metric_of_any_arch
from gateway.http.caller import Callers, ClientAddress
from gateway.http.errors import on_error
from gateway.usage import Usage, UsageQuery
from swell.errors import AccountRequired, Unavailable

LOGIN = {"Authorization": "Basic " + base64.b64encode(b"anna:secret").decode()}


class KnownCounters:
    """Answer every query alike, and remember the last."""

    def __init__(self) -> None:
        self.answer: Usage | Exception = Usage(9, {"acme.org": 7, "lab.edu": 2})
        self.asked: UsageQuery | None = None

    async def usage(self, query: UsageQuery) -> Usage:
        self.asked = query
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def counters() -> KnownCounters:
    return KnownCounters()


@pytest.fixture
def client(counters: KnownCounters) -> Iterator[TestClient[Litestar]]:
    accounts = Accounts({b"anna": bcrypt.hashpw(b"secret", bcrypt.gensalt(4))})
    callers = Callers(Authenticator(IdentitySources(ApiKeys(None)), anonymous_access=True), ClientAddress())
    app = Litestar(
        route_handlers=[metric, metric_of_any_arch],
        dependencies={
            "accounts": Provide(lambda: accounts, sync_to_thread=False),
            "callers": Provide(lambda: callers, sync_to_thread=False),
            "counters": Provide(lambda: counters, sync_to_thread=False),
        },
        exception_handlers={Exception: on_error, AccountRequired: challenge},
        openapi_config=None,
        logging_config=None,
    )
    with TestClient(app) as client:
        yield client


def ask(client: TestClient[Litestar], path: str) -> dict[str, Any]:
    answer = client.get(path, headers=LOGIN)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    return dict(answer.json())


@pytest.mark.parametrize("version", ["v1alpha2", "v1alpha3"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("builds", "builds"),
        ("pulls", "pulls"),
        ("fusion/pulls", "fusion"),
        ("mirrors", "mirrors"),
        ("scans", "scans"),
        ("hits", "hits"),
        ("bytes", "bytes"),
    ],
)
def test_each_metric_has_its_path_in_both_versions(
    client: TestClient[Litestar], counters: KnownCounters, version: str, path: str, name: str
) -> None:
    """Older clients use v1alpha2."""
    answer = ask(client, f"/{version}/metrics/{path}")

    assert answer == {"metric": name, "count": 9, "orgs": {"acme.org": 7, "lab.edu": 2}}
    assert counters.asked == UsageQuery(metric=name)


def test_a_query_narrows_the_question(client: TestClient[Litestar], counters: KnownCounters) -> None:
    """The answer names the architecture by the one name it has, after the metric as Wave does."""
    counters.answer = Usage(5, {"acme.org": 5})
    answer = ask(client, "/v1alpha3/metrics/pulls?date=2026-03-01&org=acme.org&arch=x86_64")

    assert list(answer.items()) == [("metric", "pulls"), ("arch", "amd64"), ("count", 5), ("orgs", {"acme.org": 5})]
    assert counters.asked == UsageQuery(metric="pulls", day="2026-03-01", organisation="acme.org", architecture="amd64")


def test_the_older_version_does_not_heed_an_architecture(client: TestClient[Litestar], counters: KnownCounters) -> None:
    """But it must be one."""
    assert "arch" not in ask(client, "/v1alpha2/metrics/pulls?arch=arm64")
    assert counters.asked == UsageQuery(metric="pulls")
    assert client.get("/v1alpha2/metrics/pulls?arch=riscv", headers=LOGIN).status_code == 400


def test_an_empty_count_is_zero_and_names_the_organisation(
    client: TestClient[Litestar], counters: KnownCounters
) -> None:
    """`orgs` is missing when it is empty; a requested organisation is in it, even with 0."""
    counters.answer = Usage(0, {})
    assert ask(client, "/v1alpha3/metrics/mirrors") == {"metric": "mirrors", "count": 0}
    counters.answer = Usage(0, {"none.io": 0})
    assert ask(client, "/v1alpha3/metrics/scans?org=none.io") == {
        "metric": "scans",
        "count": 0,
        "orgs": {"none.io": 0},
    }


def test_empty_parameters_are_none(client: TestClient[Litestar], counters: KnownCounters) -> None:
    """Clients send empty parameters for unset options."""
    assert ask(client, "/v1alpha3/metrics/pulls?date=&org=&arch=")["count"] == 9
    assert counters.asked == UsageQuery(metric="pulls")


@pytest.mark.parametrize("query", ["date=2026-3-1", "date=2026-02-30", "arch=riscv"])
def test_a_malformed_query_is_refused(client: TestClient[Litestar], query: str) -> None:
    """With an account or without."""
    for headers in (LOGIN, {}):
        answer = client.get(f"/v1alpha3/metrics/pulls?{query}", headers=headers)

        assert answer.status_code == 400
        assert answer.json()["message"].split()[0] in {"date", "unsupported"}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic " + base64.b64encode(b"anna:guess").decode()}])
def test_without_an_account_there_are_no_numbers(
    client: TestClient[Litestar], counters: KnownCounters, headers: dict[str, str]
) -> None:
    """The browser asks for a name and a password."""
    answer = client.get("/v1alpha2/metrics/pulls", headers=headers)

    assert (answer.status_code, answer.content) == (401, b"")
    assert answer.headers["www-authenticate"] == "Basic realm=Wave Authentication"
    assert counters.asked is None


@pytest.mark.parametrize("path", ["/v1alpha3/metrics/tea", "/v1alpha3/metrics/pulls/fusion", "/v1alpha4/metrics/pulls"])
def test_other_metrics_are_not_found(client: TestClient[Litestar], path: str) -> None:
    """The message lists the metrics."""
    assert client.get(path, headers=LOGIN).status_code == 404


def test_numbers_that_cannot_be_had_now_are_for_later(client: TestClient[Litestar], counters: KnownCounters) -> None:
    """Zero would be a lie."""
    counters.answer = Unavailable("the metrics service does not answer")
    answer = client.get("/v1alpha3/metrics/pulls", headers=LOGIN)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
