"""docs/installing.md: a private registry, and nginx with TLS before Swell, as the page shows them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from msgspec import Struct

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.busybox import REPOSITORY
from tests.e2e.engines import succeed
from tests.e2e.environment import of_this_machine
from tests.e2e.examples import ROOT
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, image_of, running

PAGE = (ROOT / "docs/installing.md").read_text()
CONF = ROOT / "deploy/nginx/swell.conf"
UNIT = ROOT / "deploy/systemd/swell.service"
HOST = "swell.example.org"


class Site(Struct, frozen=True):
    """A Swell with the variables of the page, behind nginx at *url*; the folder *ca* has the certificates."""

    url: str
    ca: Path
    stack: Stack

    async def curl(self, path: str, *arguments: str) -> str:
        return await succeed("curl", "-sS", "--cacert", str(self.ca / "ca.crt"), f"{self.url}{path}", *arguments)


def exports(heading: str) -> dict[str, str]:
    """The variables that the section *heading* exports."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    found = dict(re.findall(r"export SWELL_(\w+)=(\S+)", section))
    assert found, heading
    return found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.crt")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "fullchain.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (folder / "only-ca").mkdir()
    shutil.copy(folder / "ca.crt", folder / "only-ca/ca.crt")
    return folder


@pytest.fixture(scope="module")
async def site(
    new_stack: OpenStack, upstreams: Upstreams, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    port, home = Ports.free().gateway, tmp_path_factory.mktemp("installed")
    private = exports("How do I use a private registry?")
    behind = exports("How do I serve Swell with TLS behind nginx?")
    settings = {
        name: value.replace("registry.example.org", upstreams.basic).replace(
            f"https://{HOST}", f"https://localhost:{port}"
        )
        for name, value in (private | behind).items()
    }
    settings |= {"REGISTRY_AUTH_FILE": str(upstreams.auth_file), "SHARED_REGISTRIES": f"{upstreams.basic}/library"}
    async with new_stack(home / "stack", **settings) as stack:
        text = CONF.read_text().replace(f"server_name {HOST}", "server_name localhost")
        text = text.replace("listen 443", f"listen 127.0.0.1:{port}").replace("/etc/ssl/swell", str(certificate))
        text = text.replace("127.0.0.1:9090", f"127.0.0.1:{stack.ports.gateway}")
        text = text.replace("127.0.0.1:9091", f"127.0.0.1:{stack.ports.data}")
        (home / "nginx.conf").write_text(
            f"daemon off; error_log stderr; pid {home}/pid; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n"
            f"fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n{text}\n}}\n"
        )
        command = ("nginx", "-c", str(home / "nginx.conf"), "-p", str(home), "-g", "user root;")
        program = Program(name="nginx", command=command, environment=of_this_machine(), ready=probes.tcp(port))
        async with running(program, home):
            yield Site(f"https://localhost:{port}", certificate, stack)


async def test_a_build_on_a_private_base_is_pulled_through_nginx(site: Site, upstreams: Upstreams) -> None:
    """The operator's credentials read the base and push the result; the client has none, and pulls over TLS."""
    show = PAGE.partition("3. Request a build.")[2]
    command = re.search(r"```sh\n(.*?)```", show, re.DOTALL)
    assert command
    script = command[1].replace("registry.example.org/base/busybox", image_of(upstreams.basic))
    script = script.replace("curl -s localhost:9090", f"curl -sS --cacert {site.ca}/ca.crt {site.url}")
    answer = json.loads(await succeed("bash", "-euc", script))
    assert answer["containerImage"].startswith(f"{upstreams.basic}/team/builds:")
    assert answer["targetImage"].startswith(site.url.removeprefix("https://"))
    with TemporaryDirectory() as folder:
        source, certificates = f"docker://{answer['targetImage']}", f"--src-cert-dir={site.ca}/only-ca"
        await succeed("skopeo", "copy", certificates, source, f"oci:{folder}/image:1")
    log = await site.curl(f"/v1alpha1/builds/{answer['buildId']}/logs")
    assert "hello.txt" in log


async def test_nginx_passes_links_logs_and_large_requests(site: Site, upstreams: Upstreams, tmp_path: Path) -> None:
    """Links to blobs lead to nginx, events are not buffered, and a request of 20 MiB is not refused by nginx."""
    image = image_of(upstreams.basic)
    answer = json.loads(await site.curl("/v1alpha2/container", "--json", json.dumps({"containerImage": image})))
    path = answer["targetImage"].partition("/")[2].rpartition(":")[0]
    accept = "Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.loads(
        await site.curl(f"/v2/{path}/manifests/{answer['targetImage'].rpartition(':')[2]}", "-H", accept)
    )
    digest = manifest.get("config", manifest)["digest"]
    head = await site.curl(f"/v2/{path}/blobs/{digest}", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}")
    assert head.startswith(f"307 {site.url}/blobs/")
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"containerImage": image, "unknown": "x" * (20 << 20)}))
    said = await site.curl("/v1alpha2/container", "--json", f"@{large}", "-w", "%{http_code}")
    assert "413 Request Entity Too Large" not in said and REPOSITORY in image


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Every directive is known, and every program exists where the page installs it."""
    text = UNIT.read_text()
    for path in re.findall(r"^Exec\w+=(\S+)", text, re.MULTILINE):
        assert path.startswith("/opt/swell/") or os.access(path, os.X_OK), path
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/swell/.venv/bin/python", sys.executable).replace("/opt/swell", str(ROOT)))
    checked = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60
    )
    own = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert (checked.returncode, own) == (0, []), checked.stderr


def test_every_command_of_the_page_names_what_exists() -> None:
    """Targets of make and files of the tree."""
    makefile = (ROOT / "Makefile").read_text()
    for line in PAGE.splitlines():
        for target in re.findall(r"^(?:sudo (?:env \S+ )?)?make ([a-z -]+)", line):
            assert all(re.search(rf"^{name}:", makefile, re.MULTILINE) for name in target.split()), line
    for path in re.findall(r"\bdeploy/[\w./-]+", PAGE):
        assert (ROOT / path.rstrip(".")).exists(), path
