#!/usr/bin/env bash
# usage: build.sh PYTHON: build the images of the five services with docker, as $SWELL_IMAGES-<service>, with the
# tags $SWELL_VERSION and latest. The list of what is in each one is written to dist/sboms/<service>.spdx.json.
# The programs of `make engine` and `make scanners` must be compiled. SWELL_PYTHON_IMAGE is the base of all images.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${1:-python3}
prefix=${SWELL_IMAGES:-swell}
version=${SWELL_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' services/gateway/pyproject.toml)}
commit=$(git rev-parse --short HEAD 2>/dev/null || true)
context=dist/images

rm -rf "$context"
mkdir -p "$context/wheels" "$context/programs" dist/sboms
"$python" -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w "$context/wheels" \
	./libs/swell ./libs/sandbox ./services/*
cp deploy/images/compile_imports.py "$context/"
"$python" -m tools.image_requirements "$context/requirements"
"$python" - "$context/programs" <<-'PYTHON'
	"""Copy the compiled programs into the build context."""
	import shutil, sys
	from swell.programs import find
	for module, names in (("engine", ("buildkitd", "buildctl")), ("scanners", ("syft", "grype"))):
	    found = find(module, *names) or sys.exit(f"the programs of {module} are missing: run 'make engine scanners'")
	    for path in found:
	        shutil.copy(path, sys.argv[1])
PYTHON

build() { # SERVICE MODULE TARGET
	echo "building $prefix-$1:$version"
	docker build -q -f deploy/images/Dockerfile --target "$3" -t "$prefix-$1:$version" -t "$prefix-$1:latest" \
		--build-arg SERVICE="$1" --build-arg MODULE="$2" --build-arg VERSION="$version" --build-arg COMMIT="$commit" \
		${SWELL_PYTHON_IMAGE:+--build-arg PYTHON="$SWELL_PYTHON_IMAGE"} ${SWELL_BUILD_FLAGS:-} "$context" >/dev/null
	list_packages "$1" "$(docker image inspect --format '{{.Id}}' "$prefix-$1:$version")"
}

list_packages() { # SERVICE ID: unless this image has its list already
	if grep -qs "\"$2\"" "dist/sboms/$1.spdx.json"; then return; fi
	docker save "$2" -o "$context/image.tar"
	SYFT_CHECK_FOR_APP_UPDATE=false "$context/programs/syft" scan -q "docker-archive:$context/image.tar" \
		--source-name "$prefix-$1:$version" --source-version "$2" -o "spdx-json=dist/sboms/.new"
	rm "$context/image.tar"
	mv dist/sboms/.new "dist/sboms/$1.spdx.json"
}
build gateway gateway service
build registry-proxy registry_proxy service
build metrics metrics service
build builder builder builder
build scanner scanner scanner
