# The front door. `make` alone prints what there is.
CARGO ?= cargo
PREFIX ?= /usr/local
PYTHON ?= /usr/bin/python3

.DEFAULT_GOAL := help
.PHONY: help build plant test test-deps test-c test-python check tidy fmt clippy deny torture fuzz clean install-bus demo bench bench-bus

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
	$(CARGO) test --release --locked -p ramgrid-grid --features model --test model
	$(CARGO) test --release --locked -p ramgrid-bus --features model --test model
	$(MAKE) test-c test-python

test-c: ## the C library: installed, found by pkg-config, its example built in an empty directory
	$(CARGO) build --release --locked -p ramgrid-hooktool
	bus/c/tests/installed.sh

# The package as its users get it: built by maturin, installed by pip, in an environment of its own.
test-python: ## the Python package: build, install, its tests, C to Python and back
	$(CARGO) build --release --locked -p ramgrid-bus-c
	set -e; target="$$(realpath "$${CARGO_TARGET_DIR:-target}")"; home="$$target/python"; \
	[ -x "$$home/bin/maturin" ] || { $(PYTHON) -m venv "$$home"; \
	    "$$home/bin/pip" install --quiet 'maturin>=1.7,<2'; }; \
	rm -rf "$$home/wheels"; \
	CARGO_TARGET_DIR="$$target" "$$home/bin/maturin" build --quiet --release --locked \
	    --manifest-path bus/python/Cargo.toml --out "$$home/wheels"; \
	"$$home/bin/pip" install --quiet --no-deps --force-reinstall "$$home"/wheels/*.whl; \
	RAMGRID_BUS_C="$$target/release" "$$home/bin/python" -m unittest discover bus/python/tests

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

torture: ## the random models with fresh seeds until one fails or ROUNDS (default 20) are over
	@for round in $$(seq $${ROUNDS:-20}); do \
	    seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "torture: RAMGRID_SEED=$$seed"; \
	    RAMGRID_SEED=$$seed $(CARGO) test -q --release --locked -p ramgrid-tests --test exact -- \
	        model:: pressure:: || { echo "torture: failed with RAMGRID_SEED=$$seed"; exit 1; }; \
	    RAMGRID_SEED=$$seed RAMGRID_OUTSIDERS_S=150 \
	        $(CARGO) test -q --release --locked -p ramgrid-tests --test exact -- outsiders:: \
	        || { echo "torture: outsiders failed with RAMGRID_SEED=$$seed"; exit 1; }; \
	    RAMGRID_SEED=$$seed RAMGRID_FSX_OPERATIONS=100000 \
	        $(CARGO) test -q --release --locked -p ramgrid-tests --test servers -- fsx:: \
	        || { echo "torture: fsx failed with RAMGRID_SEED=$$seed"; exit 1; }; \
	done
	RAMGRID_PYTHON_TESTS="test_io test_os test_posix test_shutil test_subprocess test_threading" \
	    $(CARGO) test --release --locked -p ramgrid-tests --test same -- cpython
	tests/pg_regress.sh
	RAMGRID_KILL_ROUNDS=500 \
	    $(CARGO) test --release --locked -p ramgrid-tests --test deaths -- rounds::
	@for round in $$(seq $${ROUNDS:-20}); do \
	    seed=$$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); echo "torture: RAMGRID_SEED=$$seed"; \
	    RAMGRID_SEED=$$seed RAMGRID_POOL_STEPS=60 \
	        $(CARGO) test -q --release --locked -p ramgrid-tests --test deaths -- shuffle:: \
	        || { echo "torture: shuffle failed with RAMGRID_SEED=$$seed"; exit 1; }; \
	done
	RAMGRID_MODEL_ITERATIONS=60000 \
	    $(CARGO) test --release --locked -p ramgrid-grid --features model --test model -- --nocapture
	RAMGRID_MODEL_ITERATIONS=60000 \
	    $(CARGO) test --release --locked -p ramgrid-bus --features model --test model -- --nocapture
	RAMGRID_BUS_KILLS=10000 RAMGRID_BUS_STOP_S=60 \
	    $(CARGO) test --release --locked -p ramgrid-bus --test crash
	RAMGRID_RELAY_RUNS=20000 $(CARGO) test --release --locked -p ramgrid-hooktool --lib relay::
	RAMGRID_RELAY_MESSAGES=1000000 RAMGRID_RELAY_OUTAGE_S=60 \
	    $(CARGO) test --release --locked -p ramgrid-hooktool --test relay
	RAMGRID_BUS_ECHOES=140000 $(MAKE) test-python
	SECONDS_EACH=900 $(MAKE) fuzz

# Sanitizers are options of nightly compilers; RUSTC_BOOTSTRAP=1 lets a stable one take them, too.
fuzz: ## parsers, envelope and store, SECONDS_EACH (default 60) each; any toolchain, and g++
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@for target in wire/request wire/reply wire/envelope memnode/store; do \
	    room=$${target%/*}; name=$${target#*/}; mkdir -p $$room/fuzz/target/corpus/$$name; \
	    (cd $$room && RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run $$name \
	        fuzz/target/corpus/$$name fuzz/corpus/$$name -- \
	        -max_total_time=$${SECONDS_EACH:-60}) || exit 1; \
	done

clean: ## what was built, and what a killed test left behind
	$(CARGO) clean
	@tests/clean.sh

install-bus: ## the bus for C: library, header, pkg-config file, under PREFIX (/usr/local)
	$(CARGO) build --release --locked -p ramgrid-bus-c
	install -d "$(PREFIX)/lib/pkgconfig" "$(PREFIX)/include"
	install -m 644 bus/c/include/ramgrid_bus.h "$(PREFIX)/include"
	install -m 644 $(addprefix "$${CARGO_TARGET_DIR:-target}"/release/libramgrid_bus.,so a) \
	    "$(PREFIX)/lib"
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|0.1.0|' bus/c/ramgrid-bus.pc.in \
	    >"$(PREFIX)/lib/pkgconfig/ramgrid-bus.pc"

demo: ## PostgreSQL on a slow disk, without and with a memory node, in minutes (root: with limits)
	$(CARGO) build --release --locked $(patsubst %,-p ramgrid-%,bench hooktool memnode shim)
	@"$${CARGO_TARGET_DIR:-target}"/release/lab demo

bench: ## the whole slow-disk lab, every workload (root; half an hour; LAB='...' for its flags)
	$(CARGO) build --release --locked $(patsubst %,-p ramgrid-%,bench hooktool memnode shim)
	@"$${CARGO_TARGET_DIR:-target}"/release/lab run $(LAB)

# A workspace of its own: the peers are built here and nowhere else.
bench-bus: ## the bus beside iceoryx2, ZeroMQ, POSIX queues, pipes (libzmq3-dev; LAB='...' for flags)
	@[ -e /usr/include/zmq.h ] || \
	    { echo "bench-bus: first: apt-get install libzmq3-dev pkg-config" >&2; exit 1; }
	$(CARGO) build --release --locked -p ramgrid-hooktool
	set -e; target="$$(realpath "$${CARGO_TARGET_DIR:-target}")"; \
	CARGO_TARGET_DIR="$$target/bus-lab" $(CARGO) build --release --locked \
	    --manifest-path bench/bus/Cargo.toml; \
	"$$target/bus-lab/release/bus-lab" run --hooktool "$$target/release/hooktool" $(LAB)
