# Targets for development and releases; `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up demo test test-full compose-test cluster-test check mutants audit release release-notes wheels bench bench-compare clean format protos protos-current baseline lock system system-test

PYTHON ?= python3
BIN := .venv/bin
PACKAGES := $(wildcard libs/* services/*)
GENERATED := libs/swell/swell/rpc/v1
# Unit tests are independent, so one process for each core runs a part of them; xdist would collect all in each worker and
# send it each report. The plugins of schemathesis and faker take a second to import; that of logging takes a sixth of the
# time of a small test, and no test here uses it. Bytecode files are needed: without them, each process compiles all tests.
CORES := $(shell nproc)
UNIT = seq $(CORES) | PYTHONDONTWRITEBYTECODE= xargs -P 0 -I {} $(BIN)/pytest tests/unit tests/bench -q --part {}/$(CORES) \
	-p no:schemathesis -p no:faker -p no:logging -p no:cacheprovider
export PATH := $(CURDIR)/$(BIN):$(PATH)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

up: root system .venv/ready engine-or-without ## [PORTS=+1000] install missing packages and start Swell on http://localhost:9090; Ctrl-C stops it
	@SWELL_COMMIT=$${SWELL_COMMIT:-$$(git rev-parse --short HEAD 2>/dev/null || true)} exec $(BIN)/python $(if $(AS_OWNER),-B )-m swell_embedded up $(PORTS:%=--ports=%)

demo: system .venv/ready engine-or-without ## [PORTS=+1000] show a build and two pulls: base image, request, pull through the token
	@exec $(BIN)/python $(if $(AS_OWNER),-B )-m swell_embedded demo $(PORTS:%=--ports=%)

engine: .venv/ready ## compile BuildKit, which builds container files; takes about two minutes, once
	@umask 022; $(AS_OWNER) deploy/engine/build.sh $(BIN)/python

scanners: .venv/ready ## compile syft and grype, which scan images; takes about seven minutes of CPU time, once
	@deploy/scanners/build.sh $(BIN)/python

cosign: .venv/ready ## compile cosign, with which `make test-full` verifies signatures; takes about four minutes of CPU time, once
	@deploy/cosign/build.sh $(BIN)/python

sigstore: .venv/ready ## compile servers of sigstore, with which `make test-full` signs without a key; takes about two minutes of CPU time, once
	@deploy/testing/sigstore/build.sh $(BIN)/python

trivy: .venv/ready ## compile trivy, with which `make test-full` tests the second scan tool; takes about eleven minutes of CPU time, once
	@deploy/trivy/build.sh $(BIN)/python

helm: .venv/ready ## compile helm and kustomize, which render the chart; takes about two minutes of CPU time, once
	@deploy/helm/build.sh $(BIN)/python

images: .venv/ready engine scanners ## build the images of the five services with docker, for docker-compose.yml
	@deploy/images/build.sh $(BIN)/python

.PHONY: cosign helm images scanners sigstore trivy engine engine-or-without
engine-or-without: .venv/ready
	@umask 022; $(AS_OWNER) deploy/engine/build.sh $(BIN)/python || echo "BuildKit could not be compiled: Swell starts without it. Container files" \
		"are built by buildah, if its version has no known escapes. Run 'make engine' to try again." >&2

test: check system-test engine scanners ## the tests that a change must pass: check, then integration and end-to-end tests
	$(BIN)/pytest tests/integration tests/conformance --ignore=tests/integration/builder -n 2
	$(BIN)/pytest tests/integration/builder tests/e2e -n 2 --dist loadfile

test-full: test cosign helm sigstore trivy ## `make test`, then the slow tests: those marked `full`, and 1,000 examples per property
	@deploy/testing/collector/build.sh $(BIN)/python
	$(UNIT) --hypothesis-profile=thorough
	$(BIN)/pytest -m full || [ $$? = 5 ]  # 5: no test is marked
	$(MAKE) compose-test

# Daemons of these tests change networks and mounts of their machine, so they get namespaces of their own.
ALONE := deploy/testing/alone.sh $(CURDIR)/$(BIN)
compose-test: system-test engine scanners ## test docker-compose.yml on a Docker daemon of its own; part of test-full
	$(ALONE)/pytest -m compose tests/e2e/operate/test_compose.py tests/e2e/operate/test_compose_upgrade.py

cluster-test: system-test engine scanners helm ## compile Kubernetes and KEDA (25 minutes of CPU time, once), start a cluster of one node, and test the chart on it
	$(call apt,debootstrap containernetworking-plugins ipset)
	@deploy/testing/cluster/build.sh $(BIN)/python
	@deploy/testing/dns/build.sh $(BIN)/python
	@deploy/testing/debian-program.sh etcd-server etcd
	@deploy/testing/debian-program.sh prometheus prometheus
	$(BIN)/python -m tests.cluster.addons
	$(ALONE)/python -m tests.cluster.images
	$(ALONE)/pytest -m cluster tests/cluster

check: .venv/ready protos-current ## quick checks: format, lint, types, import contracts, protos, unit tests
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(UNIT)

bench: system-test .venv/ready ## run the benchmarks, each compared with another tool, and write docs/performance.md
	$(BIN)/python -m tests.bench --report

bench-compare: system-test .venv/ready ## A=v0.1.0 B=HEAD [NAMES="tag redirect"]: measure two revisions alternately
	$(BIN)/python -m tests.bench.compare $(or $(A),$(error set the first revision: make bench-compare A=v0.1.0 B=HEAD)) $(or $(B),HEAD) $(NAMES)

format: .venv/ready ## format the code with ruff
	$(BIN)/ruff format -q .
	$(BIN)/ruff check -q --fix .

protos: .venv/ready ## generate the gRPC code from protos/
	rm -f $(GENERATED)/*_pb2*
	$(call generate,libs/swell)

mutants: .venv/ready ## mutation test of the security modules: make small changes and count those that a test detects
	$(BIN)/python -m tools.mutants

audit: .venv/ready ## check locked packages for known vulnerabilities; needs internet access to an advisory service
	$(BIN)/uv run -q --no-project --isolated --with-requirements tools/audit.txt \
		pip-audit --strict --require-hashes --disable-pip --requirement requirements.txt

release: .venv/ready ## VERSION=0.2.0 [DRY_RUN=1]: version, changelog, proto baseline, wheels, commit, tag; see RELEASE.md
	$(BIN)/python -m tools.release $(if $(DRY_RUN),--dry-run) $(or $(VERSION),$(error set the version: make release VERSION=0.2.0))

release-notes: .venv/ready # VERSION=0.2.0: the changelog entries of the version that is checked out
	@$(BIN)/python -m tools.release --notes $(or $(VERSION),$(error set the version: make release-notes VERSION=0.2.0))

wheels: .venv/ready ## build a wheel of every package into dist/, with their SHA-256 sums
	@rm -rf dist
	$(BIN)/pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist $(PACKAGES:%=./%)
	@cd dist && sha256sum *.whl > SHA256SUMS

clean: ## remove build files and caches; the data in .swell/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- protos: the committed code matches protos/, and old clients can read the messages of new services

define generate
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(1) --grpc_python_out=$(1) \
		--mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) protos/swell/rpc/v1/*.proto
endef

protos-current: .venv/ready
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/baseline.binpb
	@rm -rf .venv/protos && mkdir -p .venv/protos
	$(call generate,.venv/protos)
	@diff -r -x __pycache__ -x __init__.py .venv/protos/swell/rpc/v1 $(GENERATED) || { echo "run 'make protos'" >&2; exit 1; }

baseline: .venv/ready # the version that `buf breaking` compares with; updated at each release
	$(BIN)/buf build protos -o protos/baseline.binpb

# --- requirements of this machine

# After `sudo make`, files in the tree and in caches belong to the user, so that `make` without sudo can use them.
AS_OWNER := $(if $(SUDO_USER),$(if $(filter 0,$(shell id -u)),$(if $(filter $(SUDO_USER),$(shell stat -c %U .)),sudo -H -u $(SUDO_USER) --)))

.venv/ready: requirements.txt $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Swell needs Python 3.11 to 3.13: set it with 'make PYTHON=...'" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory python-venv
	@echo "installing $$(grep -c == requirements.txt) Python packages into .venv (about 900 MB), once"
	@rm -rf .mypy_cache  # it describes the packages that were installed before
	@umask 022; $(AS_OWNER) $(PYTHON) -m venv --clear .venv
	@umask 022; $(AS_OWNER) $(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@umask 022; $(AS_OWNER) $(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation $(PACKAGES:%=-e %)
	@$(AS_OWNER) touch $@

# Pinned versions stay as they are. UPGRADE names packages to upgrade, or is `all`.
OWN = $(shell sed -n 's/^name = "\(.*\)"/\1/p' $(PACKAGES:%=%/pyproject.toml))
lock: .venv/ready # [UPGRADE=msgspec] writes requirements.txt from the pyproject files; uv.lock is not committed, it names registries
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --group dev \
		$(OWN:%=--no-emit-package %) $(if $(filter all,$(UPGRADE)),--upgrade,$(UPGRADE:%=--upgrade-package %)) \
		pyproject.toml $(PACKAGES:%=%/pyproject.toml) -o requirements.txt > /dev/null

# Debian's docker-registry package starts a service without authentication. Only the program is needed: disable it.
define apt
	@missing=$$(for package in $(1); do \
		dpkg-query -W -f '$${db:Status-Status}\n' $$package 2>/dev/null | grep -qx installed || echo -n " $$package"; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; else \
		echo "missing packages:$$missing. Ask an administrator for: apt-get install$$missing" >&2; exit 1; fi; \
	echo "installing$$missing"; \
	$$sudo apt-get -qq update && $$sudo env DEBIAN_FRONTEND=noninteractive \
		apt-get -qq install -y --no-install-recommends $$missing >/dev/null; \
	case " $$missing " in *" docker-registry "*) \
		if [ -d /run/systemd/system ]; then $$sudo systemctl disable -q --now docker-registry; fi;; esac
endef

.PHONY: root
root: # ask for the password of sudo before anything is installed
	@if [ "$$(id -u)" != 0 ] && [ "$${SWELL_BUILD_WHERE:-here}" = here ]; then \
		command -v sudo >/dev/null || { echo "make up needs root: Swell's builder and scanner isolate programs in namespaces" \
			"with other user ids. Run it as root, or install sudo. All other processes run as your user." >&2; exit 1; }; \
		sudo -v || { echo "make up needs root for Swell's builder; sudo refused it" >&2; exit 1; }; fi

.PHONY: python-venv
python-venv:
	$(call apt,python3-venv)

system:
	$(call apt,buildah runc skopeo git slirp4netns uidmap util-linux docker-registry busybox-static squashfs-tools)

system-test: system
	$(call apt,podman docker.io wrk curl chromium siftool qemu-user-static sudo nginx-light)
