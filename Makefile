# What the house can do: `make` alone tells.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help up demo test check bench clean format protos system system-test

BIN := .venv/bin
PACKAGES := $(wildcard libs/*) $(wildcard services/*)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 16
