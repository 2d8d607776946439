#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile cosign, with which `make test-full` verifies signatures; about 210 s of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../go-programs.sh"
programs=(cosign)
build_programs() {
	"$1" build -v -trimpath -ldflags "-s -w" -o "$2/" github.com/sigstore/cosign/v3/cmd/cosign
}
compile_programs cosign "cosign" "${1:-python3}"
