#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile CoreDNS, which resolves the names of Services in the cluster of `make cluster-test`;
# about two minutes of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../go-programs.sh"
programs=(coredns)
build_programs() { "$1" build -v -trimpath -ldflags "-s -w" -o "$2/coredns" .; }
compile_programs testing/dns "CoreDNS" "${1:-python3}"
