"""buildkitd's configuration file. Source: https://github.com/moby/buildkit/blob/v0.34.2/docs/buildkitd.toml.md"""

import json
from collections.abc import Iterable

from swell_sandbox import SCRATCH

RUN = f"{SCRATCH}/work/run"
STATE = f"{SCRATCH}/work/state"
SOCKET = f"{RUN}/buildkitd.sock"
STEP_NETWORK = f"{RUN}/step-network"
"""The network namespace of the steps; buildkitd itself is in another one, which has no route."""
RUNTIME = f"{SCRATCH}/bin/step-runtime"
RESOLVER = "10.0.2.3"  # slirp4netns(1)


def configuration(insecure_registries: Iterable[str], platforms: Iterable[str]) -> str:
    """The file's text. *insecure_registries* (host[:port]) may speak plain http, or show any certificate.

    No other frontend than the built-in one, no entitlements, no history, and no cache that ends by itself: a daemon
    lives for less than a cache would.
    """
    lines = [
        f"root = {_text(STATE)}",
        "insecure-entitlements = []",
        "[log]",
        'level = "info"',
        "[grpc]",
        f"address = [{_text('unix://' + SOCKET)}]",
        "[otel]",
        f"socketPath = {_text(RUN + '/otel.sock')}",
        "[cdi]",
        "disabled = true",
        "[history]",
        "maxEntries = 0",
        "[dns]",
        f"nameservers = [{_text(RESOLVER)}]",
        "[worker.containerd]",
        "enabled = false",
        "[worker.oci]",
        "enabled = true",
        "rootless = true",
        "gc = false",
        'networkMode = "host"',
        f"binary = {_text(RUNTIME)}",
        *([f"platforms = {json.dumps([*platforms])}"] if platforms else []),
        '[frontend."gateway.v0"]',
        "enabled = false",
    ]
    for host in insecure_registries:
        lines += [f"[registry.{_text(host)}]", "http = true", "insecure = true"]
    return "\n".join([*lines, ""])


def _text(value: str) -> str:
    return json.dumps(value)  # which is a string of TOML too
