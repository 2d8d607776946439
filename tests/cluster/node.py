"""A Kubernetes cluster of one node: a real API server, controllers, scheduler, kubelet and kube-proxy.

It needs namespaces of its own (`deploy/testing/alone.sh`), in which the tests run, too: they reach pods and Services.
`python -m tests.cluster.node HOME` keeps a cluster until it is interrupted; `HOME/admin.conf` is its kubeconfig.
"""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import trustme

from swell.programs import find

ROOT = Path(__file__).parents[2]
ADDRESS = "10.0.2.100"  # of the only interface, in the namespace of alone.sh
API_SERVER = f"https://{ADDRESS}:6443"
SERVICES, PODS = "10.96.0.0/16", "10.244.0.0/24"
PAUSE = "docker.io/library/swell-pause:1"
NAME = "node"
FURTHER_APIS = tuple(f"{name}.kube-system.svc" for name in ("metrics-k8s-io", "external-metrics-k8s-io"))
PASSED_ON = "front-proxy"  # the name of the API server for servers of further APIs
CGROUP = os.environ.get("SWELL_ALONE", "")  # alone.sh removes it

_KUBE_CONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "{server}", certificate-authority: {home}/ca.crt}}}}]
users: [{{name: test, user: {{client-certificate: {home}/{user}.crt, client-key: {home}/{user}.key}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"""
_CONTAINERD = """\
version = 2
root = "{home}/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE, as in many virtual machines, no pod would start
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{home}/cni"
"""
_CNI = """\
{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
{{"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
"ipam": {{"type": "host-local", "ranges": [[{{"subnet": "{pods}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}],
"dataDir": "{home}/addresses"}}}}]}}
"""
_KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {home}/ca.crt}}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
clusterDNS: ["{address}"]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd.sock
failCgroupV1: false
failSwapOn: false
podLogsDir: {home}/pods
resolvConf: /run/resolv.conf
volumePluginDir: {home}/plugins
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
"""
_DNS = """\
.:53 {{
    errors
    kubernetes cluster.local {{
        kubeconfig {home}/admin.conf
        ttl 5
    }}
}}
"""


class Cluster:
    """A running cluster; *http* is a client of its API server, as the administrator."""

    def __init__(self, home: Path, http: httpx.Client) -> None:
        self.home = home
        self.http = http
        self.config = home / "admin.conf"
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []

    def get(self, path: str) -> dict[str, Any]:
        """Read an object or a list, such as `/api/v1/pods`; raises `httpx.HTTPError` if it is missing."""
        found: dict[str, Any] = self.http.get(path).raise_for_status().json()
        return found

    def load(self, archive: Path) -> None:
        """Import the images of *archive*, which `docker save` wrote."""
        command = [
            "ctr",
            "--address",
            "/run/containerd.sock",
            "--namespace",
            "k8s.io",
            "images",
            "import",
            str(archive),
        ]
        subprocess.run(command, check=True, timeout=900, stdout=subprocess.DEVNULL)

    def apply(self, manifest: dict[str, Any], **parameters: str) -> None:
        """Apply *manifest* on the server, which refuses fields that it would ignore."""
        path = "/api/v1" if manifest["apiVersion"] == "v1" else f"/apis/{manifest['apiVersion']}"
        resources = self.get(path)["resources"]
        plural = next(each["name"] for each in resources if each["kind"] == manifest["kind"])
        if namespace := manifest["metadata"].get("namespace"):
            path += f"/namespaces/{namespace}"
        response = self.http.patch(
            f"{path}/{plural}/{manifest['metadata']['name']}",
            params={"fieldManager": "tests", "fieldValidation": "Strict", "force": "true", **parameters},
            headers={"Content-Type": "application/apply-patch+yaml"},
            content=json.dumps(manifest),
        )
        assert response.is_success, f"{manifest['kind']} {manifest['metadata']['name']}: {response.text}"

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Start a program, with further variables; its output is in the file *name* with the ending `.log`."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=os.environ | environment if environment else None
            )
        self._started.append((name, process))

    def check(self) -> None:
        """Fail if a program has ended."""
        for name, process in self._started:
            if process.poll() is not None:
                log = (self.home / f"{name}.log").read_text(errors="replace")
                raise AssertionError(f"{name} has ended: {log[-4000:]}")

    def stop(self) -> None:
        """Stop all programs; containers end with the namespace of processes."""
        for _, process in reversed(self._started):
            process.send_signal(signal.SIGKILL)
            process.wait(30)


def until(look: Callable[[], object], cluster: Cluster, seconds: float = 300) -> None:
    """Wait until *look* returns something true; connection and API errors count as not yet."""
    end, problem = time.monotonic() + seconds, "it is false"
    while time.monotonic() < end:
        cluster.check()
        try:
            if look():
                return
        except (httpx.HTTPError, AssertionError) as error:
            problem = str(error)
        time.sleep(0.5)
    raise AssertionError(f"not within {seconds} s: {problem}")


@contextmanager
def open_cluster(home: Path) -> Iterator[Cluster]:
    """Start a cluster whose state is in the folder *home*, and wait until its node is ready."""
    if missing := [name for name in ("containerd", "runc", "iptables") if not shutil.which(name)]:
        raise AssertionError(f"install {', '.join(missing)} first")
    if "SWELL_ALONE" not in os.environ:
        raise AssertionError("run it with deploy/testing/alone.sh: it changes networks and mounts")
    home.mkdir(parents=True, exist_ok=True)
    _write_files(home)
    _protect_settings()
    _close_service_network()
    context = ssl.create_default_context(cafile=home / "ca.crt")
    context.load_cert_chain(home / "admin.crt", home / "admin.key")
    groups = [path for path in Path("/sys/fs/cgroup").iterdir() if path.is_dir() and not path.is_symlink()]
    with httpx.Client(base_url=API_SERVER, verify=context, timeout=60) as http:
        cluster = Cluster(home, http)
        try:
            for group in groups:
                (group / CGROUP).mkdir(exist_ok=True)
                _copy_cpus(group)
            _start_control_plane(cluster)
            _start_node(cluster)
            yield cluster
        finally:
            cluster.stop()


def _write_files(home: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(home / "ca.crt")
    for name, user, group in (("admin", "admin", "system:masters"), ("kubelet", f"system:node:{NAME}", "system:nodes")):
        _write_certificate(home, name, authority.issue_cert(NAME, common_name=user, organization_name=group))
        config = _KUBE_CONFIG.format(server=API_SERVER, home=home, user=name)
        (home / f"{name}.conf").write_text(config)
    _write_certificate(home, PASSED_ON, authority.issue_cert(NAME, common_name=PASSED_ON))
    names = (
        ADDRESS,
        "127.0.0.1",
        "10.96.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default.svc",
        NAME,
        *FURTHER_APIS,
    )
    _write_certificate(home, "server", authority.issue_cert(*names))
    (home / "cni").mkdir(exist_ok=True)
    (home / "cni/pods.conflist").write_text(_CNI.format(pods=PODS, home=home))
    (home / "containerd.toml").write_text(_CONTAINERD.format(home=home, pause=PAUSE))
    (home / "kubelet.yaml").write_text(_KUBELET.format(home=home, address=ADDRESS, cgroup=CGROUP))
    (home / "Corefile").write_text(_DNS.format(home=home))
    Path("/run/resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    for name in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        (Path("/proc/sys") / name).write_text("1\n")


def _protect_settings() -> None:
    """Give the kubelet copies of settings of the kernel that it changes: they are not those of a namespace."""
    for name in ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"):
        setting = Path("/proc/sys") / name
        copy = Path("/run") / name.replace("/", ".")
        copy.write_text(setting.read_text())
        subprocess.run(["mount", "--bind", copy, setting], check=True, timeout=30)


def _close_service_network() -> None:
    """Reject connections to addresses of Services which kube-proxy does not know yet.

    They would leave this machine. Where a proxy answers for all addresses, the API server would keep such a connection.
    """
    rule = ("-d", SERVICES, "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
    subprocess.run(["iptables", "-A", "OUTPUT", *rule], check=True, timeout=30)


def _write_certificate(home: Path, name: str, issued: trustme.LeafCert) -> None:
    issued.cert_chain_pems[0].write_to_path(home / f"{name}.crt")
    issued.private_key_pem.write_to_path(home / f"{name}.key")


def _copy_cpus(group: Path) -> None:
    """Give a new group of the controller cpuset, of cgroup v1, the CPUs of its parent: it has none."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        if (group / name).exists():
            (group / CGROUP / name).write_text((group / name).read_text())


def _programs(module: str, *names: str) -> list[str]:
    found = find(module, *names)
    assert found, f"{', '.join(names)} missing: run deploy/{module}/build.sh"
    return [str(path) for path in found]


def _start_control_plane(cluster: Cluster) -> None:
    home = cluster.home
    script = ROOT / "deploy/testing/debian-program.sh"
    etcd = subprocess.run([script, "etcd-server", "etcd"], check=True, capture_output=True, text=True, timeout=300)
    kube = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    api_server, controllers, scheduler = _programs("testing/cluster", *kube)
    (coredns,) = _programs("testing/dns", "coredns")
    clients, peers = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    cluster.start(
        "etcd",
        *(etcd.stdout.strip(), "--data-dir=/run/etcd", f"--listen-client-urls={clients}"),
        *(f"--advertise-client-urls={clients}", f"--listen-peer-urls={peers}"),
        *(f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}"),
    )
    cluster.start(
        "kube-apiserver",
        *(api_server, f"--etcd-servers={clients}", f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}"),
        *(f"--tls-cert-file={home}/server.crt", f"--tls-private-key-file={home}/server.key"),
        *(f"--client-ca-file={home}/ca.crt", "--authorization-mode=Node,RBAC", "--allow-privileged=true"),
        *(f"--kubelet-client-certificate={home}/admin.crt", f"--kubelet-client-key={home}/admin.key"),
        *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={home}/server.key"),
        *(f"--service-account-signing-key-file={home}/server.key", f"--service-cluster-ip-range={SERVICES}"),
        *("--enable-admission-plugins=NodeRestriction", "--kubelet-preferred-address-types=InternalIP"),
        *(f"--requestheader-client-ca-file={home}/ca.crt", f"--requestheader-allowed-names={PASSED_ON}"),
        *("--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group"),
        *(f"--proxy-client-cert-file={home}/{PASSED_ON}.crt", f"--proxy-client-key-file={home}/{PASSED_ON}.key"),
        *("--requestheader-extra-headers-prefix=X-Remote-Extra-", f"--cert-dir={home}/certificates"),
    )
    until(lambda: cluster.http.get("/readyz").status_code == 200, cluster)
    cluster.start(
        "kube-controller-manager",
        *(controllers, f"--kubeconfig={cluster.config}", "--leader-elect=false", f"--root-ca-file={home}/ca.crt"),
        *(f"--service-account-private-key-file={home}/server.key", f"--cert-dir={home}/certificates"),
    )
    cluster.start(
        "kube-scheduler",
        *(scheduler, f"--kubeconfig={cluster.config}", "--leader-elect=false", f"--cert-dir={home}/certificates"),
    )
    cluster.start("coredns", coredns, "-conf", f"{home}/Corefile")


def _start_node(cluster: Cluster) -> None:
    home = cluster.home
    kubelet, proxy = _programs("testing/cluster", "kubelet", "kube-proxy")
    cluster.start("containerd", "containerd", "--config", f"{home}/containerd.toml")
    cluster.start(
        "kubelet",
        *(kubelet, f"--config={home}/kubelet.yaml", f"--kubeconfig={home}/kubelet.conf", f"--root-dir={home}/kubelet"),
        *(f"--hostname-override={NAME}", f"--node-ip={ADDRESS}", f"--cert-dir={home}/certificates"),
    )
    cluster.start(
        "kube-proxy",
        *(proxy, f"--kubeconfig={cluster.config}", f"--hostname-override={NAME}", f"--cluster-cidr={PODS}"),
        *("--conntrack-max-per-core=0", "--proxy-mode=iptables"),
    )
    until(lambda: _is_ready(cluster), cluster)


def _is_ready(cluster: Cluster) -> bool:
    conditions = cluster.get(f"/api/v1/nodes/{NAME}")["status"]["conditions"]
    assert {"Ready": "True"}.items() <= {each["type"]: each["status"] for each in conditions}.items(), conditions
    return True


def main() -> None:
    with open_cluster(Path(sys.argv[1])) as cluster:
        print(f"KUBECONFIG={cluster.config}", flush=True)  # noqa: T201
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
