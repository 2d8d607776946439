#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile the OpenTelemetry collector with the parts of deploy/observe/collector.yml, at the version
# of docker-compose.yml; about two minutes of CPU time, once.
set -euo pipefail

# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../go-programs.sh"
programs=(otelcol)
build_programs() { "$1" build -v -trimpath -ldflags "-s -w" -o "$2/otelcol" .; }
compile_programs testing/collector "the OpenTelemetry collector" "${1:-python3}"
