.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0

# The Go version with the security fixes, even where GOTOOLCHAIN=local. TOOLCHAIN=local selects the Go that is installed.
TOOLCHAIN ?= $(shell sed -n 's/^toolchain //p' go.mod)
export TOOLCHAIN
export GOTOOLCHAIN := $(TOOLCHAIN)

# What --version prints, and the tag of the images. Go does not record them itself (-buildvcs), because it does so in some clones only,
# and every clone of a commit should make the same program.
ifndef VERSION
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
endif
ifndef COMMIT
COMMIT := $(shell git describe --always --abbrev=40 --dirty --exclude '*' 2>/dev/null)
endif
BIN ?= bin
# Symbols are a third of a program. Stack traces and profiles do not need them, but the search for vulnerabilities does.
STRIP ?= -s -w
# Without the tag gRPC doubles the size of the receiver, see ADR 1.
LINKED := github.com/mandrill-operator/mandrill-operator/version
GOBUILD = -trimpath -buildvcs=false -tags grpcnotrace -ldflags "$(STRIP) -X $(LINKED).version=$(VERSION) -X $(LINKED).commit=$(COMMIT)"
# Images are named IMAGE_REPO/NAME:VERSION. IMAGE_PUSH is a registry, or a prefix of names in one, that gets them as well.
IMAGE_REPO ?= mandrill-operator.io
IMAGE_ARCHS ?= amd64 arm64
export IMAGE_REPO IMAGE_ARCHS IMAGE_PUSH VERSION COMMIT
FUZZTIME ?= 60s

# Downloads that version, so that no later step is the first to need it.
toolchain:
	@hack/toolchain.sh

## help: list the targets
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build: build the programs into bin/
build: toolchain
	@hack/progress.sh "Downloading modules and building the programs" go build $(GOBUILD) -o $(BIN)/ ./cmd/...

## install-cli: build kubectl-mandrill into CLI_DIR (the folder of go install), so that kubectl mandrill works
install-cli: toolchain
	@hack/progress.sh "Downloading modules and building kubectl-mandrill" go build $(GOBUILD) -o "$(or $(CLI_DIR),$(shell go env GOPATH)/bin)/" ./cmd/kubectl-mandrill

## archives: build the archives of kubectl-mandrill and its manifest for krew into dist/cli; CLI_PLATFORMS="linux/amd64"
archives: toolchain
	@hack/archives.sh

## image: build images of the programs into dist/ without Docker; IMAGE_REPO, VERSION, IMAGE_ARCHS=amd64, IMAGE_PUSH=HOST:PORT
image: toolchain
	@hack/image.sh

## release-dry-run: rehearse a release with a registry on loopback: push, SBOMs, signatures, attestations, verification, chart
release-dry-run: toolchain
	@hack/release.sh rehearse

## release: push images and chart to IMAGE_PUSH, and sign and attest them with the identity of the GitHub workflow
release: toolchain
	@hack/release.sh publish

## assets: find or build an API server and etcd, and print their folder
assets:
	@hack/assets.sh

## demo: run everything on this machine; DEMO=once exits after one batch, DEMO=json prints the CloudEvents, DEMO_SINK=URL gets them
demo: build
	@hack/progress.sh "Building the demo" go build $(GOBUILD) -o bin/demo ./hack/demo
	@hack/assets.sh bin/demo $(if $(filter once,$(DEMO)),-once) $(if $(filter json,$(DEMO)),-json) $(if $(DEMO_SINK),-sink '$(DEMO_SINK)')

## test: run the unit, HTTP and reconcile tests with the race detector, and those of the npm package
test:
	@hack/assets.sh hack/test.sh

## test-system: run the tests with an API server, and those that run programs: faults of receivers, the chart, kubectl mandrill, alerts with Prometheus, scripts, upgrades of a buffer
test-system: toolchain
	@hack/assets.sh hack/test.sh --system

## npm: build and test the npm package, with Node.js
npm:
	@hack/npm.sh

## test-ui: test the receiver's page in Chromium, with Node.js; both are installed on Debian as root
test-ui: build
	@hack/ui.sh

## bench: measure with 5000 objects, under attack, the buffer, delivery, and a shared buffer; BENCH, HOSTILE, BUFFER, DELIVERY and PARTITIONS="-cpu 0.5" pass flags
bench: build
	@hack/assets.sh go run ./test/bench/scale $(BENCH)
	@go run ./test/bench/hostile $(HOSTILE)
	@go run ./test/bench/buffer $(BUFFER)
	@go run ./test/bench/delivery $(DELIVERY)
	@go run ./test/bench/partitions $(PARTITIONS)

## bench-check: measure delivery, and fail when a ratio to a program that does less is more than 20 % worse than the stored one
bench-check: build
	@go run ./test/bench/delivery -check test/bench/delivery/baseline.json $(DELIVERY)

## profile: write processor and allocation profiles of the receiver in a case of the delivery benchmark to dist/profiles; CASE=1000x8x1
CASE ?= 1000x8x1
profile: build
	@go run ./test/bench/delivery -rounds 1 -only $(CASE) -subjects direct,direct-batched -profile dist/profiles

## chaos: inject faults into real receivers with a buffer, for about 15 minutes; CHAOS="-run Kill" passes flags
chaos:
	@hack/chaos.sh $(CHAOS)

## cluster-up: start a Kubernetes cluster of one node on this machine, which needs root and Debian
cluster-up:
	@hack/cluster/cluster.sh up

## cluster-down: end that cluster and delete its data
cluster-down:
	@hack/cluster/cluster.sh down

## e2e: run the end-to-end tests on it, or on the cluster of E2E_KUBECONFIG with images from E2E_REGISTRY; E2E="-run Clustered" passes flags
e2e:
	@hack/e2e.sh $(E2E)

## e2e-knative: run the end-to-end tests with Knative's Broker and Trigger on the cluster of cluster-up; E2E="-v" passes flags
e2e-knative:
	@hack/e2e.sh --knative $(E2E)

## test-gitops: run Flux's own controllers on a Git repository with release and webhook; GITOPS="-run Flux -v" passes flags
test-gitops: toolchain
	@hack/gitops.sh $(GITOPS)

## fuzz: run every fuzz target for FUZZTIME (60s); FUZZ=FuzzVerify runs one
fuzz:
	@hack/fuzz.sh $(FUZZTIME) $(FUZZ)

## generate: regenerate the CRD, its Go code, the role, the references, the JSON Schemas, the dashboards, and config from the chart
generate: toolchain
	@hack/tool.sh controller-gen object crd rbac:roleName=mandrill-operator paths=./api/... paths=./controllers/... \
		output:crd:dir=config/crd output:rbac:dir=config/rbac
	@go run ./hack/crd config/crd/mandrill-operator.io_mandrillwebhooks.yaml
	@hack/tool.sh crd-ref-docs --source-path=api/v1alpha1 --config=hack/docs/api.yaml \
		--renderer=markdown --output-path=docs/api.md --log-level=ERROR
	@go run ./hack/events
	@go -C hack/dashboards run . ../../charts/mandrill-operator/files/dashboards
	@go run ./hack/chart
	@go run ./hack/cli docs/cli.md

## verify: check that generated files and go.mod are up to date, the names of metrics, and the workflows
verify:
	@hack/verify.sh

## fmt: format the code
fmt:
	@hack/tool.sh golangci-lint fmt

## lint: run the linters
lint:
	@hack/tool.sh golangci-lint run

## vuln: fail when the packages or programs call code with a known vulnerability
vuln:
	@$(MAKE) --no-print-directory build BIN=bin/symbols STRIP=
	@hack/vuln.sh bin/symbols/operator bin/symbols/receiver bin/symbols/mandrill-emulator bin/symbols/kubectl-mandrill

## install: install the CRD and the accounts into the cluster of the current kubectl context
install:
	kubectl apply -k config

## deploy: install the programs as well, as the chart does by default
deploy:
	kubectl apply -k config/default

## uninstall: delete all MandrillWebhooks, wait for the operator to finalize them, then undo install; UNINSTALL="--keep-webhooks" passes flags
uninstall: build
	@hack/uninstall.sh $(UNINSTALL)

## ci: run what every change must pass: verify, lint, vuln, demo, test, test-system, and test-ui and e2e where this machine can run them
ci: verify lint vuln
	@$(MAKE) --no-print-directory demo DEMO=once >/dev/null
	@hack/ui.sh --if-can
	@hack/assets.sh hack/test.sh --all

.PHONY: toolchain help build image release-dry-run release assets archives demo test test-system npm test-ui bench bench-check profile chaos cluster-up cluster-down e2e e2e-knative test-gitops fuzz generate verify fmt lint vuln install install-cli deploy uninstall ci
