#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile kube-apiserver, with which `make cluster-test` applies the manifests; about 8 minutes of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../go-programs.sh"
programs=(kube-apiserver)
build_programs() {
	# Without these, the server says that it is v0.0.0, and refuses to start.
	local version flags
	version=$(version_of k8s.io/kubernetes)
	flags="-X k8s.io/component-base/version.gitVersion=v$version -X k8s.io/component-base/version.gitMajor=1"
	flags="$flags -X k8s.io/component-base/version.gitMinor=$(echo "$version" | cut -d. -f2)"
	"$1" build -v -trimpath -ldflags "-s -w $flags" -o "$2/" k8s.io/kubernetes/cmd/kube-apiserver
}
compile_programs testing/cluster "kube-apiserver" "${1:-python3}"
