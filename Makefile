# One word for each thing that people and CI do. `make` alone explains them.

CARGO ?= cargo
SECONDS ?= 60
TEST_THREADS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) '*' 5)

.DEFAULT_GOAL := help
.PHONY: help run demo test lint bench fuzz fmt deny tools proxies watchers peers

help: ## Explain these words
	@echo 'mls-relay: an end-to-end-encrypted chat relay for ATProto identities'
	@echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo '  The first build takes a few minutes; Postgres is installed when it is missing.'

run: tools ## Serve on https://localhost:8443, with a private Postgres and a development certificate
	$(CARGO) build --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/debug/mls-relay"

demo: tools ## Watch two people and three devices exchange encrypted messages, and every one arrive
	$(CARGO) build --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/debug/demo"

# Clusters come and go by the hundred: in memory, where that has room for them. How many of the
# threads a test takes is in .config/nextest.toml.
test: tools proxies watchers ## Run every test, with real Postgres, TLS, sockets and MLS
	@free=$$(df -k --output=avail /dev/shm 2>/dev/null | tail -n 1); \
	if [ "$${free:-0}" -gt 2000000 ]; then export TMPDIR=/dev/shm; fi; \
	if $(CARGO) nextest --version >/dev/null 2>&1; \
	then set -x; $(CARGO) nextest run --workspace --profile whole --test-threads $(TEST_THREADS); \
	else set -x; $(CARGO) test --workspace; fi

lint: ## Check format, lints, and (when cargo-deny is there) dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; \
	then set -x; $(CARGO) deny check bans licenses sources; \
	else echo 'Dependencies are not checked: `make deny` installs cargo-deny and checks them.'; fi

bench: tools peers ## Measure, print a line a figure, and append it to target/bench.jsonl
	@.ci/install valgrind
	$(CARGO) build --release --workspace --bins
	$(CARGO) bench --workspace --bench '*' --no-fail-fast

fuzz: ## Fuzz each place where strangers' bytes are first read (SECONDS=60), or one (TARGET=websocket)
	@.ci/install build-essential
	fuzz/run $(SECONDS) $(TARGET)

fmt: ## Format the code
	$(CARGO) fmt --all

deny: ## Install cargo-deny if it is missing, and check dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked
	$(CARGO) deny check bans licenses sources

tools:
	@.ci/install build-essential postgresql

# Servers that the fan-out is measured beside. The bench names those that are missing.
peers:
	-@.ci/install nodejs libnginx-mod-nchan nats-server
	-@test -d target/peers/node_modules/ws || \
		npm install --prefix target/peers --no-save --no-audit --no-fund ws@8 @oven/bun-linux-x64@1

watchers:
	@.ci/unpack prometheus/promtool

proxies:
	@.ci/install nginx-light haproxy caddy pebble testssl.sh
