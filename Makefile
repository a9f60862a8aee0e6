# make demo: from a fresh machine to a running lab.  make test: all tests of the fast tier.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
SHARED ?= ../shared

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

packages: ## Debian packages that building and the demo need
	@scripts/packages

test-packages: ## those that the tests need besides; none of their services is started
	@scripts/packages test

build: ## debug build
	cargo build --locked --package netloom

demo: packages ## build everything, deploy the demo lab, prove that it works
	@scripts/demo

demo-down: ## remove the demo lab
	cargo run --quiet --locked --package netloom -- destroy -t labs/demo/demo.clab.yml --cleanup

images: packages build ## images of all recipes, in the store
	@scripts/images

lint: ## format, clippy
	cargo fmt --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

test: test-packages ## the fast tier: everything that CI runs
	@scripts/test

test-full: test-packages ## the fast tier, then repeats, full mutation count
	@scripts/test full

robot: test-packages build ## acceptance suites of a containerlab checkout: make robot CLAB_SRC=...
	@cargo run --quiet --locked --package xtask -- robot "$(CLAB_SRC)"

bench: packages ## benchmarks against their floors, as ratios in one run
	@scripts/bench

.PHONY: help packages test-packages build demo demo-down images lint test test-full robot bench
