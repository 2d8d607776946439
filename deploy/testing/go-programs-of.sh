#!/usr/bin/env bash
# usage: go-programs-of.sh MODULE@VERSION SUM PACKAGE... [FOLDER/...]: compile main packages of a published Go module with the
# pins of its own go.mod and go.sum, once, and print the folder with the programs. A FOLDER of the module, with a slash at
# its end, is copied there, too. SUM is the hash of the module in the form of go.sum; Go verifies it, and everything that
# the module needs. Nothing is installed.
set -euo pipefail

module=$1 sum=$2
shift 2
# shellcheck source=deploy/go-programs.sh
source "$(dirname "${BASH_SOURCE[0]}")/../go-programs.sh"
name=${module%@*}
name=$(basename "${name%/v[0-9]}")-${module#*@}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/swell/go
programs=()
for each; do if [ "${each%/}" = "$each" ]; then programs+=("${each##*/}"); fi; done
target=$cache/$name
if ! _is_complete "$target"; then
	mkdir -p "$cache"
	exec 9>"$cache/lock"
	flock 9
fi
if ! _is_complete "$target"; then # another run may have compiled it meanwhile
	work=$(mktemp -d "$cache/new.XXXXXX")
	trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
	go=go
	export GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off
	found=$("$go" mod download -json "$module")
	field() { sed -n "s/.*\"$1\": \"\\(.*\\)\",\\{0,1\\}/\\1/p" <<<"$found"; }
	[ "$(field Sum)" = "$sum" ] || { echo "$module has the hash $(field Sum), not $sum" >&2; exit 1; }
	wanted=$(sed -n 's/^go //p' "$(field GoMod)")
	_is_new_enough "$wanted" || _find_go "$name" "$wanted" "${PYTHON:-python3}" >&2
	echo "$name: compiling ${programs[*]}, once" >&2
	cp -r "$(field Dir)" "$work/source" # it becomes the main module, so its replacements count
	chmod -R u+w "$work/source"
	mkdir "$work/programs"
	for each; do
		if [ "${each%/}" = "$each" ]; then
			(cd "$work/source" && "$go" build -trimpath -ldflags "-s -w" -o "$work/programs/${each##*/}" "./$each") >&2
		else
			cp -r "$work/source/${each%/}" "$work/programs/"
		fi
	done
	mkdir -p "$target"
	mv "$work/programs"/* "$target/"
fi
echo "$target"
