# `make run` and `make test` are all that a newcomer needs: they install what is missing, build, and go.

PREFIX ?= /usr/local
DESTDIR ?=

# Tests start real processes: more at once than this only makes them wait for each other.
TEST_WIDTH ?= 4

release := .build/release
bindir = $(DESTDIR)$(PREFIX)/bin
libexecdir = $(DESTDIR)$(PREFIX)/libexec/bulkhead
libdir = $(DESTDIR)$(PREFIX)/lib/bulkhead
sharedir = $(DESTDIR)$(PREFIX)/share/bulkhead
docdir = $(DESTDIR)$(PREFIX)/share/doc/bulkhead
mandir = $(DESTDIR)$(PREFIX)/share/man
unitdir = $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: help run test conformance chaos build bench format lint install clean deps plugins

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: deps plugins ## the quickstart: a proxy, two plugins, three commands to try
	@echo 'Building; the first time takes a few minutes.'
	swift build
	@examples/quickstart/run .build/debug

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
	swift build -c release --static-swift-stdlib

bench: build plugins ## Bulkhead against Envoy on this machine; flags in BENCH, e.g. BENCH='--rounds 3'
	.ci/deps --bench
	python3 -B Tests/Bench/bench.py $(BENCH)

format: ## formats all Swift files in place
	swift format -i -r -p Sources Tests examples Package.swift

lint: ## says what is not formatted, and fails
	swift format lint -s -r -p Sources Tests examples Package.swift

install: build ## into DESTDIR/PREFIX (default /usr/local)
	install -d $(bindir) $(libexecdir) $(libdir) $(sharedir)/policies $(docdir)/examples
	install -m 755 $(release)/bulkheadd $(release)/bulkheadctl $(bindir)
	install -m 755 $(release)/bulkhead-front $(release)/bulkhead-worker $(release)/bulkhead-compiler $(libexecdir)
	install -m 644 .build/deps/lib/libwasmtime.so $(libdir)
	cp -R policies/. $(sharedir)/policies/
	cp -R examples/. $(docdir)/examples/
	rm -rf $(docdir)/examples/quickstart/.run
	install -d $(unitdir)
	sed 's|/usr/local/bin|$(PREFIX)/bin|' examples/systemd/bulkhead.service >$(unitdir)/bulkhead.service
	install -m 644 examples/systemd/bulkhead.socket $(unitdir)
	chmod 644 $(unitdir)/bulkhead.service
	for page in man/*.[1-8]; do install -D -m 644 $$page $(mandir)/man$${page##*.}/$${page#man/} || exit 1; done
	install -m 644 LICENSE $(docdir)
	if [ -f README.md ]; then install -m 644 README.md $(docdir); fi

clean: ## removes everything that was built; downloads stay in the cache
	rm -rf .build .build-* examples/quickstart/.run

deps: ## installs what this machine lacks
	@.ci/deps

plugins: ## the Wasm plugins of the tests and of the quickstart, into .build/plugins
	@Tests/Plugins/build.sh
	@examples/quickstart/build.sh
