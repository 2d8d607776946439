#!/bin/sh
# usage: debian-program.sh PACKAGE PROGRAM: print the path of PROGRAM of Debian's PACKAGE, unpacked into a cache.
# Nothing is installed: the packages of servers would start them. apt verifies what it downloads.
set -eu
package=$1 program=$2
version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
case "$version" in "" | "(none)") echo "apt does not know $package: run apt-get update" >&2; exit 1 ;; esac
target=${XDG_CACHE_HOME:-$HOME/.cache}/swell/debian/$package-$version
if [ ! -d "$target" ]; then
	mkdir -p "$(dirname "$target")"
	new=$(mktemp -d "$target.XXXXXX")
	trap 'rm -rf "$new"' EXIT
	(cd "$new" && apt-get -qq download "$package" >/dev/null 2>&1 && dpkg-deb -x ./*.deb . && rm ./*.deb)
	mv -T "$new" "$target" 2>/dev/null || [ -d "$target" ] # another run was faster
fi
ls "$target/usr/bin/$program"
