.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0

# The Go version with the security fixes, even where GOTOOLCHAIN=local. TOOLCHAIN=local selects the Go that is installed.
TOOLCHAIN ?= $(shell sed -n 's/^toolchain //p' go.mod)
export TOOLCHAIN
export GOTOOLCHAIN := $(TOOLCHAIN)

# Without the tag gRPC doubles the size of the receiver, see ADR 1.
GOBUILD := -trimpath -tags grpcnotrace
FUZZTIME ?= 60s

# Downloads that version, so that no later step is the first to need it.
toolchain:
	@hack/toolchain.sh

## help: list the targets
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build: build the three programs into bin/
build: toolchain
	@hack/progress.sh "Downloading modules and building the programs" go build $(GOBUILD) -o bin/ ./cmd/...

## assets: find or build an API server and etcd, and print their folder
assets:
	@hack/assets.sh

## demo: run everything on this machine; DEMO=once exits after one batch with an event of every kind
demo: build
	@hack/progress.sh "Building the demo" go build $(GOBUILD) -o bin/demo ./hack/demo
	@hack/assets.sh bin/demo $(if $(filter once,$(DEMO)),-once)

## test: run the unit, HTTP, reconcile and API server tests with the race detector
test:
	@hack/assets.sh hack/test.sh

## bench: measure with 5000 objects, under attack, and the buffer; BENCH="-objects 200", HOSTILE="-window 5s" and BUFFER="-waiting 5" pass flags
bench: build
	@hack/assets.sh go run ./test/bench/scale $(BENCH)
	@go run ./test/bench/hostile $(HOSTILE)
	@go run ./test/bench/buffer $(BUFFER)

## chaos: inject faults into real receivers with a buffer, for about 15 minutes; CHAOS="-run Kill" passes flags
chaos:
	@hack/chaos.sh $(CHAOS)

## fuzz: run every fuzz target for FUZZTIME (60s); FUZZ=FuzzVerify runs one
fuzz:
	@hack/fuzz.sh $(FUZZTIME) $(FUZZ)

## generate: regenerate the CRD, its Go code, the role, and the API and event references
generate: toolchain
	@hack/tool.sh controller-gen object crd rbac:roleName=mandrill-operator paths=./api/... paths=./controllers/... \
		output:crd:dir=config/crd output:rbac:dir=config/rbac
	@go run ./hack/crd config/crd/mandrill-operator.io_mandrillwebhooks.yaml
	@hack/tool.sh crd-ref-docs --source-path=api/v1alpha1 --config=hack/docs/api.yaml \
		--renderer=markdown --output-path=docs/api.md --log-level=ERROR
	@go run ./hack/docs/events >docs/events.md

## verify: check that generated files and go.mod are up to date, the names of metrics, and the CI workflow
verify:
	@hack/verify.sh

## fmt: format the code
fmt:
	@hack/tool.sh golangci-lint fmt

## lint: run the linters
lint:
	@hack/tool.sh golangci-lint run

## vuln: fail when the packages or programs call code with a known vulnerability
vuln: build
	@hack/vuln.sh bin/operator bin/receiver bin/mandrill-emulator

## install: install the CRD and the accounts into the cluster of the current kubectl context
install:
	kubectl apply -k config

## uninstall: delete all MandrillWebhooks, wait for the operator to finalize them, then undo install; UNINSTALL="--keep-webhooks" passes flags
uninstall: build
	@hack/uninstall.sh $(UNINSTALL)

## ci: run what every change must pass: verify, lint, vuln, demo, test
ci: verify lint vuln
	@$(MAKE) --no-print-directory demo DEMO=once >/dev/null
	@$(MAKE) --no-print-directory test

.PHONY: toolchain help build assets demo test bench chaos fuzz generate verify fmt lint vuln install uninstall ci
