#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy and kubelet, which
# `make cluster-test` starts; about 12 minutes of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../go-programs.sh"
programs=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet)
build_programs() {
	local version
	version=$(version_of k8s.io/kubernetes)
	"$1" build -v -trimpath -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=v$version \
		-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$version")" \
		-o "$2/" "${programs[@]/#/k8s.io/kubernetes/cmd/}"
}
compile_programs testing/cluster "Kubernetes" "${1:-python3}"
