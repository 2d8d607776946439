"""Several gateways behind a proxy: one of them may be killed."""

import asyncio
import signal
from pathlib import Path

from swell_embedded import probes
from swell_embedded.ports import Ports
from swell_embedded.program import Program
from swell_embedded.stack import Stack
from tests.e2e.client import client_of, until
from tests.e2e.environment import gateway_beside, of_this_machine
from tests.e2e.test_builds import manifest_path
from tests.e2e.upstreams import Upstreams, running

NGINX = """daemon off; error_log stderr; pid {home}/pid; events {{}}
http {{
    log_format upstreams "$upstream_addr $status";
    access_log {home}/requests upstreams;
    client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;
    upstream gateways {{ server {first}; server {second} backup; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://gateways; proxy_set_header Host $http_host; proxy_buffering off; }}
    }}
}}
"""


async def test_a_waiting_pull_survives_the_death_of_its_gateway(
    stack: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """No byte of the response was sent, so the proxy in front sends the request to another gateway, as for any GET."""
    port = Ports.free().gateway
    url, program = gateway_beside(stack, "doomed", SERVER_URL=f"http://localhost:{port}")
    first, second = url.removeprefix("http://").replace("localhost", "127.0.0.1"), f"127.0.0.1:{stack.ports.gateway}"
    conf = tmp_path / "nginx.conf"
    conf.write_text(NGINX.format(home=tmp_path, port=port, first=first, second=second))
    command = ("nginx", "-c", str(conf), "-p", str(tmp_path), "-g", "user root;")
    nginx = Program(name="nginx", command=command, environment=of_this_machine(), ready=probes.tcp(port))
    async with (
        running(program, tmp_path) as doomed,
        running(nginx, tmp_path),
        client_of(f"http://localhost:{port}") as swell,
    ):
        answer = await swell.build(f"FROM {upstreams.image()}\nRUN echo $((1 + 1)) gateways && sleep 8\n")
        pull = asyncio.create_task(swell.read(manifest_path(answer["targetImage"])))

        async def runs() -> bool:
            return "2 gateways" in await swell.log(answer["buildId"])

        await until(runs)
        assert not pull.done()
        doomed.send(signal.SIGKILL)
        status, body = await asyncio.wait_for(pull, 60)
    assert status == 200, body
    assert f"{first}, {second} 200" in (tmp_path / "requests").read_text()
