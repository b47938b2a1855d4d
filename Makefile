# `make run` and `make test` are all that a newcomer needs: they install what is missing, build, and go.

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc

# Tests start real processes: more at once than this only makes them wait for each other.
TEST_WIDTH ?= 4

# The port of the quickstart.
PORT ?= 8080

export PREFIX DESTDIR SYSCONFDIR

.PHONY: help run test conformance chaos fuzz build bench docs format lint install install-debug uninstall clean deps plugins

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## the quickstart: a proxy, two plugins, three commands to try; PORT=8081 takes another port
	@PORT='$(PORT)' examples/quickstart/run --check-port
	@.ci/deps
	@$(MAKE) --no-print-directory plugins
	@echo 'Building, where something has changed; the first time takes five to ten minutes.'
	@folder="$$(.ci/build any)" && PORT='$(PORT)' examples/quickstart/run "$$folder"

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

fuzz: deps ## decoders of foreign bytes under libFuzzer and AddressSanitizer; flags in FUZZ='--seconds 60 --only reply'
	@.ci/fuzz $(FUZZ)

build: deps ## optimised binaries in .build/release, which `make run` takes too while they are fresh
	@.ci/build release

bench: build plugins ## Bulkhead against Envoy on this machine; flags in BENCH, e.g. BENCH='--rounds 3'
	.ci/deps --bench
	python3 -B Tests/Bench/bench.py $(BENCH)

format: ## formats all Swift files in place
	swift format -i -r -p Sources Tests examples Package.swift

lint: ## says what is not formatted, and fails
	swift format lint -s -r -p Sources Tests examples Package.swift

docs: ## the manuals as HTML, in .build/docs
	@.ci/docs

install: build ## into DESTDIR/PREFIX (default /usr/local), stripped; configuration into SYSCONFDIR (/etc) where there is none
	@examples/quickstart/build.sh
	@.ci/install

install-debug: ## the debug information of what is installed, beside it in folders .debug
	@.ci/install --debug

uninstall: ## what was installed; configuration, cache and logs stay
	@.ci/install --uninstall

clean: ## removes everything that was built; downloads stay in the cache
	rm -rf .build .build-* examples/quickstart/.run

deps: ## installs what this machine lacks
	@.ci/deps

plugins: ## the Wasm plugins of the tests and of the quickstart, into .build/plugins
	@Tests/Plugins/build.sh
	@examples/quickstart/build.sh
