# `make run` and `make test` are all that a newcomer needs: they install what is missing, build, and go.

PREFIX ?= /usr/local
DESTDIR ?=

# Tests start real processes: more at once than this only makes them wait for each other.
TEST_WIDTH ?= 4

# Where the quickstart listens.
PORT ?= 8080

.PHONY: help run test conformance chaos build bench format lint install install-debug uninstall clean deps plugins quickstart-plugins

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the quickstart: a proxy, two plugins, three commands to try; PORT=8080
	@examples/quickstart/run --is-free $(PORT)
	@$(MAKE) --no-print-directory build quickstart-plugins
	@examples/quickstart/run --port $(PORT) .build/release

test: plugins ## every test; a skipped one is a failure
	@.ci/deps --test
	swift build --build-tests
	@.ci/test --experimental-maximum-parallelization-width $(TEST_WIDTH)

conformance: plugins ## every function of the specification on every ABI, as a table; CONFORMANCE=--envoy asks Envoy
	@.ci/deps --test
	@case '$(CONFORMANCE)' in *--envoy*) .ci/deps --bench ;; esac
	swift build
	@python3 -B Tests/Conformance/run.py $(CONFORMANCE)

chaos: plugins ## faults, kills and load: only what policy orders may happen; flags in CHAOS='--seconds 20 --seed 7'
	@.ci/deps
	swift build
	@python3 -B Tests/Chaos/chaos.py $(CHAOS)

build: deps ## optimised binaries in .build/release
	@.ci/build

bench: build plugins ## Bulkhead against Envoy on this machine; flags in BENCH, e.g. BENCH='--rounds 3'
	.ci/deps --bench
	python3 -B Tests/Bench/bench.py $(BENCH)

format: ## formats all Swift files in place
	swift format -i -r -p Sources Tests examples Package.swift

lint: ## says what is not formatted, and fails
	swift format lint -s -r -p Sources Tests examples Package.swift

install: build quickstart-plugins ## into DESTDIR/PREFIX (default /usr/local), and into /etc what is not there yet
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' .ci/install .build/release

install-debug: build ## debug information of what is installed, for debuggers
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' .ci/install --debug .build/release

uninstall: ## removes what install has put into DESTDIR/PREFIX, but no configuration that was changed
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' .ci/install --remove

clean: ## removes everything that was built; downloads stay in the cache
	rm -rf .build .build-* examples/quickstart/.run

deps: ## installs what this machine lacks
	@.ci/deps

quickstart-plugins: deps
	@examples/quickstart/build.sh

plugins: ## the Wasm plugins of the tests and of the quickstart, into .build/plugins
	@Tests/Plugins/build.sh
	@examples/quickstart/build.sh
