#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile trivy, with which `make test-full` runs the tests of scan tools, and testdb, which writes
# a database for it; about 11 minutes of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../go-programs.sh"
programs=(trivy testdb)
build_programs() {
	local version
	version=$(version_of github.com/aquasecurity/trivy)
	export GOEXPERIMENT=jsonv2
	"$1" build -v -trimpath -ldflags "-s -w -X github.com/aquasecurity/trivy/pkg/version/app.ver=$version" \
		-o "$2/" github.com/aquasecurity/trivy/cmd/trivy ./testdb
}
compile_programs trivy "trivy" "${1:-python3}"
