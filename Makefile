# Every command of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TERM_COLOR ?= auto
# What a light build leaves out and the tests and lints have. `scripts/test` reads it too.
FEATURES := $(shell cat scripts/features)

##@ Use
run: ## Start the service and a simulated payment provider, data in ./data, and print what to try; flags in ARGS="..."
	@scripts/run $(ARGS)

demo: ## See what it promises in a minute: kills, lost answers, both ledgers compared; flags in ARGS="--orders 300 --faults 40"
	cargo run --quiet --release --locked -p orderly -- demo $(ARGS)

help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z_%-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Work
setup: ## Install what the tests and checks need beside Rust and a C compiler
	scripts/setup

test: setup lint ## Everything that must be right, builds included; no timing thresholds
	scripts/test

lint: ## Formatting, lints, documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked --features $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet --features $(FEATURES)

fmt: ## Format the code
	cargo fmt --all

generate: ## Write api/openapi.json, docs/PROBLEMS.md, docs/METRICS.md and docs/orderly.toml anew from the code
	UPDATE_GENERATED=1 cargo test --quiet --locked -p orders-api --test it document
	UPDATE_GENERATED=1 cargo test --quiet --locked -p orderly --test it every_metric
	UPDATE_GENERATED=1 cargo test --quiet --locked -p orderly --test it settings::shown::the_reference_of_all

##@ Prove
checks: ## List the checks with the promise each holds and its last record
	@scripts/checks

check-%: scripts/check/% ## Run one check: a table, a record in docs/records, and a verdict
	scripts/check/$*

bench: ## Measure: the store beside one commit per order, then the service under load
	scripts/bench

.PHONY: run demo help setup test lint fmt generate checks bench
