#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile helm and kustomize, with which `make test-full` renders the chart; about 120 s of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../go-programs.sh"
programs=(helm kustomize)
build_programs() {
	"$1" build -v -trimpath -ldflags "-s -w" -o "$2/" helm.sh/helm/v3/cmd/helm sigs.k8s.io/kustomize/kustomize/v5
}
compile_programs helm "helm and kustomize" "${1:-python3}"
