# Everything goes through cargo; set CARGO_TARGET_DIR to build elsewhere, MEILISEARCH_BIN to use a real node as well.

CARGO ?= cargo
SHELL := /bin/bash
# Where cargo puts what tests start.
BIN_DIR = $(shell $(CARGO) metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug
.DEFAULT_GOAL := help

.PHONY: help demo test check one examples bench fmt lint rust redis browser

help:
	@echo 'make demo    three nodes, one Miroir, sample data; stays up until Ctrl-C'
	@echo 'make test    every test (MEILISEARCH_BIN=/path/to/meilisearch adds the tests against a real node)'
	@echo 'make check   formatting, clippy and unit tests: what to run before every commit'
	@echo 'make one T=storm  the end-to-end tests whose names contain "storm"'
	@echo 'make examples  only the programs with the official SDKs and the page in a browser, which make test runs too'
	@echo 'make bench   every benchmark (30 minutes cold; apt install nginx for the comparison of CPU time)'
	@echo 'make fmt     format the code'
	@echo 'make lint    formatting, clippy, the docs of the code, and cargo-deny when it is installed'

rust:
	@command -v $(CARGO) >/dev/null || { \
	  echo 'Rust is missing. Install it from https://rustup.rs (the toolchain itself is chosen by rust-toolchain.toml):' >&2; \
	  echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; \
	  exit 1; }
	@command -v cc >/dev/null || { \
	  echo 'A C compiler is missing (SQLite is compiled from source). On Debian: apt install build-essential' >&2; \
	  exit 1; }

# The shared store is tested against servers that the tests start themselves.
redis:
	@command -v redis-server >/dev/null || \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends redis-server; \
	  else echo 'redis-server is missing. On Debian: apt install redis-server' >&2; exit 1; fi

# A page is looked at with a real browser.
browser:
	@[ -n "$${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium; \
	  else echo 'A browser is missing. On Debian: apt install chromium; or CHROMIUM=/path/to/it' >&2; exit 1; fi

demo: rust
	@demo/run.sh

# The end-to-end tests and the examples start the binaries. cargo makes these for the tests of each command, so that all is
# built once, with one set of features; to build the binaries alone would build the engine a second time.
# MIROIR_BIN_DIR says where they are; without it the tests ask cargo.
# Tests wait for processes most of their time: more of them at once than there are cores; servers take more of the cores.
test: rust redis browser
	MIROIR_BIN_DIR="$(BIN_DIR)" RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$(if $(MEILISEARCH_BIN),2,4)} $(CARGO) test --workspace --locked
	@examples/sdk/run.sh

check: rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --workspace --locked --lib --bins --test doors

one: rust redis
	@[ -n '$(T)' ] || { echo 'Which test? For example: make one T=storm' >&2; exit 2; }
	$(CARGO) test --locked --workspace --test '*' --no-run
	MIROIR_BIN_DIR="$(BIN_DIR)" $(CARGO) test --locked --workspace --test e2e -- '$(T)'

# The official SDKs for Python, JavaScript and Rust, and a page in a browser, against a small cluster; they come from their registries.
examples: rust browser
	$(CARGO) test --locked --workspace --test '*' --no-run
	@examples/sdk/run.sh

# The micro-benchmarks, then the whole: docs/benchmarks.md gets the figures. CPU time is compared with nginx when there is one.
bench: rust redis
	$(CARGO) build --release --locked -p miroir-proxy -p miroir-devnode
	$(CARGO) bench --locked -p miroir-core
	$(CARGO) bench --locked -p miroir-store --bench listing
	$(CARGO) run --release --locked -p miroir-tests --bin miroir-bench

fmt: rust
	$(CARGO) fmt --all

lint: rust
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check bans licenses sources; \
	  else echo 'cargo-deny is not installed (cargo install cargo-deny --locked): licences were not checked'; fi
