#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile the servers of sigstore, which `make test-full` signs with; about four minutes of CPU
# time after `make cosign`, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../go-programs.sh"
programs=(fulcio tesseract rekor-server timestamp-server)
build_programs() {
	local go=$1 work=$2
	build() { "$go" build -v -trimpath -ldflags "-s -w" -o "$work/$1" "$2"; }
	build fulcio github.com/sigstore/fulcio
	build tesseract github.com/transparency-dev/tesseract/cmd/tesseract/posix
	build rekor-server github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix
	build timestamp-server github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server
}
compile_programs testing/sigstore "the servers of sigstore" "${1:-python3}"
