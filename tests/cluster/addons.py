"""What clusters have beside Kubernetes: an enforcer of NetworkPolicies, CPU figures of pods, Prometheus, and KEDA.

The programs are the published ones, compiled here (`deploy/testing/go-programs-of.sh`); they run beside the API server.
`python -m tests.cluster.addons` compiles them.
"""

import subprocess
from base64 import b64encode
from pathlib import Path

import yaml

from tests.cluster.node import ADDRESS, NAME, ROOT, SERVICES, Cluster, until

KUBE_ROUTER = (
    "github.com/cloudnativelabs/kube-router/v2@v2.1.0",
    "h1:xWsptKtmZ44L+NjwFKoFAFlVdxCz8fka9A/eYJe95Ok=",
    "cmd/kube-router",
)
METRICS_SERVER = (
    "sigs.k8s.io/metrics-server@v0.9.0",
    "h1:nlqqZ2H0Xfko8eJC/1qaNVVT17hu4rxndkOi22KTZ4w=",
    "cmd/metrics-server",
)
KEDA = (
    "github.com/kedacore/keda/v2@v2.21.0",
    "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
    *("cmd/operator", "cmd/adapter", "config/crd/bases/"),
)
PROMETHEUS = f"http://{ADDRESS}:9090"
_OPERATOR_PORT = 9190


def programs(module: tuple[str, ...]) -> Path:
    """The folder with the programs of *module*, compiled at the first use."""
    command = [str(ROOT / "deploy/testing/go-programs-of.sh"), *module]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=3600)
    return Path(done.stdout.strip())


def start_policies(cluster: Cluster) -> None:
    """Enforce NetworkPolicies; traffic of the node itself, such as that of the tests, is always allowed."""
    cluster.start(
        "kube-router",
        *(str(programs(KUBE_ROUTER) / "kube-router"), f"--kubeconfig={cluster.config}", f"--hostname-override={NAME}"),
        *("--run-firewall=true", "--run-router=false", "--run-service-proxy=false", "--run-loadbalancer=false"),
        *(f"--service-cluster-ip-range={SERVICES}", "--iptables-sync-period=10s", "--metrics-port=0"),
    )


def start_metrics_server(cluster: Cluster) -> None:
    """Serve the CPU use of pods, by which HorizontalPodAutoscalers scale."""
    config = str(cluster.config)
    cluster.start(
        "metrics-server",
        *(str(programs(METRICS_SERVER) / "metrics-server"), f"--kubeconfig={config}", "--metric-resolution=15s"),
        *(f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}", "--secure-port=4443"),
        *(f"--tls-cert-file={cluster.home}/server.crt", f"--tls-private-key-file={cluster.home}/server.key"),
        *("--kubelet-preferred-address-types=InternalIP", "--kubelet-insecure-tls"),
    )
    _serve_api(cluster, "v1beta1", "metrics.k8s.io", 4443)
    until(lambda: cluster.get("/apis/metrics.k8s.io/v1beta1/pods")["items"], cluster)


def start_prometheus(cluster: Cluster) -> None:
    """Scrape the metrics services of the release every second."""
    script = ROOT / "deploy/testing/debian-program.sh"
    found = subprocess.run(
        [script, "prometheus", "prometheus"], check=True, capture_output=True, text=True, timeout=300
    )
    scrape = {
        "job_name": "metrics",
        "dns_sd_configs": [
            {
                "names": ["swell-metrics.swell.svc.cluster.local"],
                "type": "A",
                "port": _OPERATOR_PORT,
                "refresh_interval": "2s",
            }
        ],
    }
    path = cluster.home / "prometheus.yml"
    path.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    data = cluster.home / "prometheus"
    cluster.start(
        "prometheus",
        *(found.stdout.strip(), f"--config.file={path}", f"--storage.tsdb.path={data}"),
        f"--web.listen-address={ADDRESS}:9090",
    )
    until(lambda: cluster.http.get(f"{PROMETHEUS}/-/ready").is_success, cluster)


def start_keda(cluster: Cluster) -> None:
    """Run KEDA's operator and its server of metrics, with KEDA's own custom resources."""
    found = programs(KEDA)
    for path in sorted((found / "bases").glob("*.yaml")):
        cluster.apply(yaml.safe_load(path.read_text()))
    certificates = cluster.home / "keda"
    certificates.mkdir(exist_ok=True)
    for name, source in (("tls.crt", "server.crt"), ("tls.key", "server.key"), ("ca.crt", "ca.crt")):
        (certificates / name).write_bytes((cluster.home / source).read_bytes())
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda"}})
    environment = {
        "KUBECONFIG": str(cluster.config),
        "POD_NAMESPACE": "keda",
        "WATCH_NAMESPACE": "",
        "KEDA_CLUSTER_OBJECT_NAMESPACE": "keda",
    }
    cluster.start(
        "keda-operator",
        *(str(found / "operator"), f"--kubeconfig={cluster.config}", f"--cert-dir={certificates}"),
        *("--enable-prometheus-metrics=false", "--health-probe-bind-address=127.0.0.1:8081"),
        *("--metrics-service-bind-address=127.0.0.1:9666", "--enable-webhook-patching=false"),
        "--enable-apiservice-patching=false",
        **environment,
    )
    cluster.start(
        "keda-adapter",
        *(str(found / "adapter"), f"--lister-kubeconfig={cluster.config}", f"--cert-dir={certificates}", "--port=8082"),
        *(f"--authentication-kubeconfig={cluster.config}", f"--authorization-kubeconfig={cluster.config}"),
        *(f"--tls-cert-file={certificates}/tls.crt", f"--tls-private-key-file={certificates}/tls.key"),
        *("--secure-port=4444", "--metrics-service-address=127.0.0.1:9666"),
        **environment,
    )
    _serve_api(cluster, "v1beta1", "external.metrics.k8s.io", 4444)
    until(lambda: cluster.get("/apis/external.metrics.k8s.io/v1beta1"), cluster)


def _serve_api(cluster: Cluster, version: str, group: str, port: int) -> None:
    """Let the API server pass requests for *group* on to *port* of this machine."""
    name = group.replace(".", "-")
    metadata = {"name": name, "namespace": "kube-system"}
    ports = [{"name": "https", "port": 443, "targetPort": port}]
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports}})
    subsets = [{"addresses": [{"ip": ADDRESS}], "ports": [{"name": "https", "port": port}]}]
    cluster.apply({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets})
    spec = {
        "group": group,
        "version": version,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "service": {"name": name, "namespace": "kube-system"},
        "caBundle": b64encode((cluster.home / "ca.crt").read_bytes()).decode(),
    }
    metadata = {"name": f"{version}.{group}"}
    cluster.apply(
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": metadata, "spec": spec},
    )


def main() -> None:
    for module in (KUBE_ROUTER, METRICS_SERVER, KEDA):
        programs(module)


if __name__ == "__main__":
    main()
