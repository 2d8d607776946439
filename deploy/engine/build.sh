#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile buildkitd and buildctl, once for each version; about two minutes of CPU time.
# swell/programs.py finds the result.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../go-programs.sh"
programs=(buildkitd buildctl)
build_programs() {
	"$1" build -v -trimpath -ldflags "-s -w -X github.com/moby/buildkit/version.Version=v$(version_of github.com/moby/buildkit)" \
		-o "$2/" github.com/moby/buildkit/cmd/buildkitd github.com/moby/buildkit/cmd/buildctl
}
compile_programs engine BuildKit "${1:-python3}"
