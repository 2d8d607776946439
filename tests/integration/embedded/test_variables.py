"""The environment of each service: complete and minimal."""

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from swell_embedded.errors import CannotStart
from swell_embedded.ports import Ports
from swell_embedded.services import SERVICES, program
from swell_embedded.site import Site, prepare

STORES = {"SWELL_REDIS_URL", "SWELL_NATS_URL", "SWELL_S3_ENDPOINT", "SWELL_S3_ACCESS_KEY", "SWELL_S3_SECRET_KEY"}


def environments(site: Site) -> dict[str, Mapping[str, str]]:
    return {service.name: program(service, site).environment for service in SERVICES}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return prepare(tmp_path, Ports.default(), {"PATH": "/usr/bin"})


def test_every_service_gets_its_ports_and_stores(site: Site) -> None:
    """The defaults are complete."""
    for service in SERVICES:
        environment = environments(site)[service.name]
        assert environment["SWELL_LISTEN"] == f"127.0.0.1:{getattr(site.ports, service.listens[0])}"
        assert environment.keys() >= STORES
        assert service.command[:2] == (sys.executable, "-m")


def test_a_secret_goes_only_to_the_services_that_use_it(site: Site) -> None:
    """Only the signing service has the link key, only the builder pushes, and only the gateway reads stored secrets.

    Only readers of images have the logins."""
    having = {
        name: {service for service, environment in environments(site).items() if name in environment}
        for name in ("SWELL_ENCRYPTION_KEYS", "SWELL_LINK_KEY", "SWELL_PUSH_AUTH_FILE", "SWELL_REGISTRY_AUTH_FILE")
    }

    assert having == {
        "SWELL_ENCRYPTION_KEYS": {"gateway"},
        "SWELL_LINK_KEY": {"registry-proxy"},
        "SWELL_PUSH_AUTH_FILE": {"builder"},
        "SWELL_REGISTRY_AUTH_FILE": {"registry-proxy", "scanner"},
    }


def test_a_service_of_root_writes_no_bytecode_into_the_tree_of_a_user(site: Site) -> None:
    """The user could not remove it; the services of the user write theirs, and so do those of a stack of root."""
    ours, theirs = (structs.replace(site, owner=structs.replace(site.owner, uid=uid)) for uid in (0, 1000))

    assert not any("PYTHONDONTWRITEBYTECODE" in each for each in environments(ours).values())
    silent = {name for name, each in environments(theirs).items() if "PYTHONDONTWRITEBYTECODE" in each}
    assert silent == {"builder", "scanner"}


def test_secrets_are_readable_by_their_owner_only(site: Site) -> None:
    """The home folder is in a checkout, which other users may read."""
    for file in (site.home / "secrets.json", *(site.home / "auth").iterdir()):
        assert file.stat().st_mode & 0o077 == 0


def test_the_environment_overrides_the_defaults(tmp_path: Path) -> None:
    """The environment overrides each default; SWELL_LISTEN sets the public port."""
    operators = {"SWELL_LOG_LEVEL": "DEBUG", "SWELL_LISTEN": "0.0.0.0:8080", "SWELL_TOKEN_TTL": "PT1H"}
    site = prepare(tmp_path, Ports.default(operators), operators)

    assert {environment["SWELL_LOG_LEVEL"] for environment in environments(site).values()} == {"DEBUG"}
    assert {environment["SWELL_TOKEN_TTL"] for environment in environments(site).values()} == {"PT1H"}
    assert environments(site)["gateway"]["SWELL_LISTEN"] == "0.0.0.0:8080"
    assert environments(site)["gateway"]["SWELL_SERVER_URL"] == "http://localhost:8080"
    assert environments(site)["builder"]["SWELL_LISTEN"] == "127.0.0.1:9102"


def test_the_operators_registries_are_added(tmp_path: Path) -> None:
    """The operator's auth file must not remove access to the embedded registry."""
    theirs = tmp_path / "auth.json"
    theirs.write_text('{"auths": {"registry.example.com": {"auth": "dTpw"}}}')
    site = prepare(tmp_path / "home", Ports.default(), {"SWELL_REGISTRY_AUTH_FILE": str(theirs)})

    merged = msgspec.json.decode(Path(environments(site)["registry-proxy"]["SWELL_REGISTRY_AUTH_FILE"]).read_bytes())

    assert merged["auths"].keys() == {"registry.example.com", "localhost:9500"}


def test_an_s3_server_without_keys_gets_none(tmp_path: Path) -> None:
    """The embedded keys would not work there; services then use the role that AWS gives to the machine."""
    site = prepare(tmp_path, Ports.default(), {"SWELL_S3_ENDPOINT": "https://s3.example.com"})

    assert "SWELL_S3_ACCESS_KEY" not in environments(site)["gateway"]


def test_damaged_secrets_are_named(tmp_path: Path) -> None:
    """New passwords would make the data unreadable; the operator decides."""
    (tmp_path / "secrets.json").write_text("{")
    with pytest.raises(CannotStart, match=r"secrets\.json is damaged"):
        prepare(tmp_path, Ports.default(), {})


@pytest.mark.parametrize("name", ["SWELL_LISTEN", "SWELL_SERVER_URL", "SWELL_TRUSTED_PROXIES"])
def test_only_a_stack_for_this_machine_has_no_limits_for_anonymous_clients(tmp_path: Path, name: str) -> None:
    """Behind a reverse proxy, clients of other machines connect as well."""
    alone = environments(prepare(tmp_path, Ports.default(), {}))["gateway"]
    assert (alone["SWELL_ANONYMOUS_BUILD_LIMIT"], alone["SWELL_ANONYMOUS_PULL_LIMIT"]) == ("off", "off")
    value = {"SWELL_LISTEN": "0.0.0.0:9090"}.get(name, "https://swell.example.org")
    exposed = environments(prepare(tmp_path, Ports.default(), {name: value}))["gateway"]
    assert not {"SWELL_ANONYMOUS_BUILD_LIMIT", "SWELL_ANONYMOUS_PULL_LIMIT"} & exposed.keys()
