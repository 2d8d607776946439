#!/usr/bin/env bash
# usage: stand-ins.sh WHEELS: make the images that docker-compose.yml names, where no registry of images can be reached.
#
# The base is Debian, with Debian's Python. Backends are Debian's packages (Redis, docker-registry) and the programs of
# wheels in the virtual environment WHEELS (nats-server; SeaweedFS in the place of MinIO; Caddy). docker must run.
# What they are good for: testing compose files and our images. What they are not: the images that they stand for.
set -euo pipefail

wheels=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/swell-stand-ins.XXXXXX")
trap 'rm -rf "$work"' EXIT
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

has() { docker image inspect "$1" >/dev/null 2>&1; }
image_of() { sed -n "s/.*:-\([^}]*\)}.*/\1/p" <<<"$(grep "\${$1:-" "$(dirname "$0")/../../docker-compose.yml")" | head -1; }

base=docker.io/library/python:3.11-slim-bookworm
if ! has "$base"; then
	debootstrap --variant=minbase --include=ca-certificates,curl,python3,python3-pip,python3-venv,wget \
		bookworm "$work/base" "$mirror" >/dev/null
	ln -s python3 "$work/base/usr/bin/python"
	rm -f "$work/base/usr/lib/python3.11/EXTERNALLY-MANAGED"
	if [ -f /etc/ssl/certs/ca-certificates.crt ]; then  # the certificates of this machine, for pip behind a proxy
		cp /etc/ssl/certs/ca-certificates.crt "$work/base/etc/ssl/certs/"
		printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' >"$work/base/etc/pip.conf"
	fi
	rm -rf "$work/base/var/cache/apt/archives"/*.deb
	tar -C "$work/base" -c . | docker import - "$base" >/dev/null
fi

if ! has swell-backends; then
	mkdir "$work/programs"
	cp "$wheels/bin/nats-server" "$wheels/bin/weed" "$wheels/bin/caddy" "$work/programs/"
	cat >"$work/programs/minio" <<-'SH'
		#!/bin/sh
		# SeaweedFS in the place of MinIO: the same port, keys and health path.
		AWS_ACCESS_KEY_ID=$(cat "$MINIO_ROOT_USER_FILE") AWS_SECRET_ACCESS_KEY=$(cat "$MINIO_ROOT_PASSWORD_FILE")
		export AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY GOMEMLIMIT=400MiB
		exec weed mini -dir=/data -ip=0.0.0.0 -s3.port=9000 -webdav=false -admin.ui=false
	SH
	printf '#!/bin/sh\nexec /usr/bin/curl -sf http://127.0.0.1:9000/healthz\n' >"$work/programs/curl"
	printf '#!/bin/sh\nexport REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry\nexec docker-registry serve /etc/docker/registry/config.yml\n' >"$work/programs/registry"
	chmod +x "$work/programs"/*
	cat >"$work/Dockerfile" <<-DOCKERFILE
		FROM $base
		RUN apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends docker-registry redis-server
		COPY programs /usr/local/bin/
	DOCKERFILE
	docker build -q -t swell-backends "$work" >/dev/null
fi

stand_in() { # VARIABLE ENTRYPOINT
	local name
	name=$(image_of "$1")
	has "$name" || printf 'FROM swell-backends\nENTRYPOINT %s\n' "$2" | docker build -q -t "$name" - >/dev/null
	echo "$name"
}
stand_in SWELL_REDIS_IMAGE '[]'
stand_in SWELL_PROXY_IMAGE '[]'
stand_in SWELL_NATS_IMAGE '["nats-server"]'
stand_in SWELL_MINIO_IMAGE '["minio"]'
stand_in SWELL_REGISTRY_IMAGE '["registry"]'
