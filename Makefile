# The front door. `make` alone prints what there is.
CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help build plant test test-deps check tidy fmt clippy deny torture fuzz clean demo bench

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## release artefacts: hooktool, memnode, the shim
	$(CARGO) build --release --locked --workspace

# A shim that breaks its promise on purpose, in a place of its own: a test proves the oracle with it.
plant:
	CARGO_TARGET_DIR="$${CARGO_TARGET_DIR:-target}/plant" \
	$(CARGO) build --release --locked -p ramgrid-shim --features plant

test: test-deps build plant ## install what is needed (Debian, root), build, pass every test
	$(CARGO) test --release --locked --workspace

test-deps: ## the Debian packages the tests need; starts no service
	@tests/deps.sh

check: fmt clippy deny tidy test ## what a change must pass: style, lints, licences, tests

fmt:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny: ## licences, bans and sources of the dependencies
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked --all-features check licenses bans sources

tidy: ## the house law (tests/src/tidy)
	$(CARGO) test --locked -p ramgrid-tests --lib --test tidy -- tidy

clean: ## what was built, and what a killed test left behind
	$(CARGO) clean
	@tests/clean.sh

demo: ## PostgreSQL on a slow disk, without and with a memory node, in minutes (root: with limits)
	$(CARGO) build --release --locked $(patsubst %,-p ramgrid-%,bench hooktool memnode shim)
	@"$${CARGO_TARGET_DIR:-target}"/release/lab demo

bench: ## the whole slow-disk lab, every workload (root; half an hour; LAB='...' for its flags)
	$(CARGO) build --release --locked $(patsubst %,-p ramgrid-%,bench hooktool memnode shim)
	@"$${CARGO_TARGET_DIR:-target}"/release/lab run $(LAB)
