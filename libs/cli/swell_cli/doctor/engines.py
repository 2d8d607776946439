"""Checks of the programs that pull images, and of their access to the server."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from swell_cli.doctor.finding import Finding, State, failed, ok, skipped, warning
from swell_cli.doctor.server import is_local

_TIMEOUT = 15.0


def check_engines(url: str) -> Iterator[Finding]:
    """Each engine that is installed; a finding of its own if there is no engine."""
    parts = urlsplit(url)
    needs_insecure = parts.scheme == "http" and not is_local(parts.hostname or "")
    findings = list(
        filter(None, (_docker(parts.netloc, needs_insecure), _podman(parts.netloc, parts.scheme), _apptainer()))
    )
    yield from findings
    if all(finding.state is State.SKIPPED for finding in findings):
        yield warning(
            "engine", "neither docker, podman nor apptainer is installed", "Install one to pull and run images."
        )


def _docker(authority: str, needs_insecure: bool) -> Finding | None:
    if not shutil.which("docker"):
        return None
    code, output = _run("docker", "info", "--format", "{{json .RegistryConfig}}")
    if code:
        return failed(
            "docker", f"the daemon does not answer: {_last(output)}", "Start it, or add yourself to the group docker."
        )
    if needs_insecure and not _allows(output, authority):
        return failed(
            "docker",
            f"refuses {authority}, which has no https",
            f'Serve it with https, or add {{"insecure-registries": ["{authority}"]}} to /etc/docker/daemon.json.',
        )
    return ok("docker", "works, and can pull from the server")


def _allows(config: str, authority: str) -> bool:
    """Whether the daemon pulls from *authority* without https."""
    try:
        found = json.loads(config)
        if authority in (found.get("IndexConfigs") or {}):
            return not found["IndexConfigs"][authority].get("Secure", True)
        address = ip_address(authority.rpartition(":")[0] or authority)
        return any(address in ip_network(network) for network in found.get("InsecureRegistryCIDRs") or ())
    except (ValueError, TypeError, AttributeError, KeyError):
        return False


def _podman(authority: str, scheme: str) -> Finding | None:
    if not shutil.which("podman"):
        return None
    code, output = _run("podman", "--version")
    if code:
        return failed("podman", _last(output), "Repair the installation.")
    if scheme == "http":
        advice = f'Pull with --tls-verify=false, or set location = "{authority}", insecure = true in registries.conf.'
        return warning("podman", f"{output.strip()}; it pulls from {authority} only with an option", advice)
    return ok("podman", output.strip())


def _apptainer() -> Finding | None:
    name = next((name for name in ("apptainer", "singularity") if shutil.which(name)), None)
    if not name:
        return skipped("apptainer", "not installed")
    code, output = _run(name, "--version")
    return failed(name, _last(output), "Repair the installation.") if code else ok(name, output.strip())


def _run(*command: str) -> tuple[int, str]:
    """The exit code of *command*, at most 15 s long, and its output."""
    try:
        ran = subprocess.run(command, capture_output=True, timeout=_TIMEOUT, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    output = ran.stdout if not ran.returncode else ran.stdout + ran.stderr
    return ran.returncode, output.decode(errors="replace")


def _last(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1][:200] if lines else "no output"
