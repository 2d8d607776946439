#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile syft and grype, one pinned pair of versions, once; about 400 s of CPU time.
# They share a module, so that grype matches with the code of the syft that made the SBOM. swell/programs.py finds the result.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../go-programs.sh"
programs=(syft grype)
build_programs() {
	local program
	for program in "${programs[@]}"; do
		"$1" build -v -trimpath -ldflags "-s -w -X main.version=$(version_of "github.com/anchore/$program")" \
			-o "$2/" "github.com/anchore/$program/cmd/$program"
	done
}
compile_programs scanners "syft and grype" "${1:-python3}"
