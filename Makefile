# Agentmeter. `make` alone prints the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

DATA_DIR ?= data
# Tools have a module of their own, so that they add nothing to ours.
TOOL := go tool -modfile=$(CURDIR)/internal/tools/go.mod
RELEASE ?= dev

.PHONY: help
help: ## Print this list.
	@echo "Agentmeter: what AI agents spend, each credit counted exactly once."
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z0-9-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: engine-library ## Build bin/agentmeter, with the engine's library beside it.
	go build -trimpath -ldflags "-X main.release=$(RELEASE)" -o bin/agentmeter ./cmd/agentmeter

.PHONY: engine-library
engine-library:
	@mkdir -p bin
	@go run ./internal/embedded/cmd/fetchengine -link bin >/dev/null

.PHONY: run
run: build ## Run everything with a demo workspace; data in $(DATA_DIR).
	exec bin/agentmeter run --data-dir $(DATA_DIR) --demo

.PHONY: test
test: build page-modules test-tools ## Run all tests: Go, page, and the whole product in a real browser.
	go vet ./...
	AGENTMETER_SLOW=1 AGENTMETER_REQUIRE_BROWSER=1 go test -tags synctests -timeout 25m ./...
	cd query/page && npm run --silent typecheck && npm run --silent test

.PHONY: race
race: engine-library ## Run the fast Go tests under the race detector, which also draws the order in which goroutines run.
	go test -race -tags synctests -count=1 -timeout 25m ./...

.PHONY: e2e
e2e: build page-modules test-tools ## Test the whole product from outside, with the page in a real browser.
	AGENTMETER_SLOW=1 AGENTMETER_REQUIRE_BROWSER=1 go test -count=1 -timeout 15m -v ./internal/e2e

.PHONY: test-deploy
test-deploy: engine-library ## Check what operators copy: compose file, Helm chart, image, ClickHouse's users.
	cd deploy/check && go test -count=1 ./...
	AGENTMETER_TEST_DEPLOY=1 go test -count=1 -timeout 10m -run 'TestImage|TestRelease|TestComposeFile' ./internal/e2e

KILLS ?= 500
SEED ?= 0
EXAMPLES ?= 50
.PHONY: bench
bench: engine-library ## Measure against the goals: a table on stdout, and bench-results.json.
	@go run ./internal/bench -out bench-results.json

.PHONY: crash
crash: engine-library ## Kill everything KILLS times (500) on the schedule of SEED, and prove that nothing is lost or doubled.
	go run ./internal/crash/cmd/crash -kills $(KILLS) -seed $(SEED) -report crash-report.md

.PHONY: crash-cases
crash-cases: engine-library ## Test each named fault, and that weakened protocols are caught; see docs/faults.md.
	AGENTMETER_CRASH=1 go test -count=1 -timeout 20m -v ./internal/crash

OVERLOAD ?= 5m
QUIET ?= 1m
.PHONY: overload
overload: engine-library ## Bring three times its capacity to ingest, then to query, for OVERLOAD (5m) each; see docs/overload-report.md.
	go run ./internal/crash/cmd/overload -overload $(OVERLOAD) -quiet $(QUIET) -seed $(SEED) -report overload-report.json

SOAK ?= 30m
.PHONY: soak
soak: engine-library ## Mixed load and random faults for SOAK (30m) on the schedule of SEED: all is counted, nothing grows.
	go run ./internal/crash/cmd/soak -for $(SOAK) -seed $(SEED) -report soak-report.json

.PHONY: crash-ci
crash-ci: ## The faults that every change has to survive: 100 kills and the named cases.
	$(MAKE) --no-print-directory crash KILLS=100
	$(MAKE) --no-print-directory crash-cases

.PHONY: env
env: ## Write .env and secrets/ for docker-compose.yml; never overwrites them.
	@RELEASE=$(RELEASE) deploy/env.sh

.PHONY: release
release: ## Build RELEASE (v1.2.3) for linux, amd64 and arm64, into dist/ with checksums.
	@deploy/release.sh "$(RELEASE)"

# What a real broker does differently: the whole pipeline on it, by TLS and SCRAM,
# and the part of the crash harness that is about the broker.
KAFKA_CASES := TestKafka|TestCommittedOffsets|TestRetention|TestPartitionGivenAway
.PHONY: test-kafka
test-kafka: build ## Test on a real Apache Kafka (needs Java 17; put together by Maven): the pipeline, and the broker's faults.
	AGENTMETER_KAFKA=$$(internal/tools/kafka/fetch.sh); export AGENTMETER_KAFKA; \
	go test -count=1 -timeout 10m -v -run RealKafka ./internal/e2e; \
	AGENTMETER_CRASH=1 go test -count=1 -timeout 15m -v -run '$(KAFKA_CASES)' ./internal/crash

.PHONY: page-modules
page-modules: query/page/node_modules/.package-lock.json

query/page/node_modules/.package-lock.json: query/page/package-lock.json
	cd query/page && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: test-tools
test-tools:
	@internal/tools/test-tools.sh

.PHONY: lint
lint: page-modules ## Lint Go, protobuf and the page.
	$(TOOL) golangci-lint run ./...
	GOOS=darwin go vet ./...
	cd deploy/check && $(TOOL) golangci-lint run ./...
	cd schemas/proto && $(TOOL) buf lint
	cd query/page && npm run --silent lint

.PHONY: format
format: page-modules ## Format everything.
	$(TOOL) gofumpt -w $$(git ls-files '*.go' | grep -v '\.gen\.go$$\|\.pb\.go$$')
	cd query/page && npm run --silent format

.PHONY: generate
generate: page-modules ## Write generated files anew: protobuf, HTTP contract, page.
	cd schemas/proto && $(TOOL) buf generate
	go generate ./schemas/... ./internal/monitoring
	cd query/page && npm run --silent generate:api && npm run --silent build

.PHONY: verify
verify: page-modules ## Check that generated files are fresh and the module files tidy.
	@internal/tools/verify.sh

.PHONY: screenshots
screenshots: build page-modules ## Take the documentation's pictures of the page, from the demo.
	cd query/page && node scripts/screenshots.mjs $(CURDIR)/bin/agentmeter

.PHONY: fuzz
fuzz: ## Fuzz each decoder for FUZZTIME (default 30s).
	@internal/tools/fuzz.sh $${FUZZTIME:-30s}

.PHONY: fuzz-api
fuzz-api: build ## Fuzz a running instance from its contract: EXAMPLES (50) an operation, on the draws of SEED.
	@SEED=$(SEED) EXAMPLES=$(EXAMPLES) internal/tools/fuzz-api.sh
