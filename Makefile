.DEFAULT_GOAL := help
export CGO_ENABLED ?= 0

TOOL := go tool -modfile=hack/tools.mod
FUZZTIME ?= 60s

## help: list the targets
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build: the three programs, into bin/
build:
	@go build -trimpath -tags grpcnotrace -o bin/ ./cmd/... # without the tag gRPC doubles the receiver, see ADR 1

## assets: a real API server and etcd, built once from Go modules into bin/
assets:
	@hack/cluster/build.sh etcd kube-apiserver >/dev/null

## demo: everything on this machine; DEMO=once exits after one batch of every kind of event
demo: build $(if $(KUBEBUILDER_ASSETS),,assets)
	@KUBEBUILDER_ASSETS=$${KUBEBUILDER_ASSETS:-$$(hack/cluster/build.sh etcd kube-apiserver)} go run ./hack/demo $(if $(filter once,$(DEMO)),-once)

## test: unit, HTTP, reconcile and API server tests
test: $(if $(KUBEBUILDER_ASSETS),,assets)
	@KUBEBUILDER_ASSETS=$${KUBEBUILDER_ASSETS:-$$(hack/cluster/build.sh etcd kube-apiserver)} CGO_ENABLED=1 go test -race -timeout 30m ./...
	@cd test/conformance && CGO_ENABLED=1 go test -race ./...

## bench: measure with 5000 objects, under attack, and the buffer, and print tables; BENCH="-objects 200", HOSTILE="-window 5s" and BUFFER="-waiting 5" pass flags
bench: build $(if $(KUBEBUILDER_ASSETS),,assets)
	@KUBEBUILDER_ASSETS=$${KUBEBUILDER_ASSETS:-$$(hack/cluster/build.sh etcd kube-apiserver)} go run ./test/bench/scale $(BENCH)
	@go run ./test/bench/hostile $(HOSTILE)
	@go run ./test/bench/buffer $(BUFFER)

## chaos: do harm to receivers with a buffer for some 15 minutes; CHAOS="-run Kill" passes flags
chaos:
	@hack/chaos.sh $(CHAOS)

## fuzz: every fuzz target for FUZZTIME (60s)
fuzz:
	@hack/fuzz.sh $(FUZZTIME)

## generate: everything that is generated
generate:
	$(TOOL) controller-gen object crd rbac:roleName=mandrill-operator paths=./api/... paths=./controllers/... output:crd:dir=config/crd output:rbac:dir=config/rbac
	go run ./hack/crd config/crd/mandrill-operator.io_mandrillwebhooks.yaml
	$(TOOL) crd-ref-docs --source-path=api/v1alpha1 --config=hack/docs/api.yaml --renderer=markdown --output-path=docs/api.md --log-level=ERROR
	go run ./hack/docs/events >docs/events.md

## verify: generate again and fail on a difference
verify:
	@hack/verify.sh

## fmt: format all code
fmt:
	$(TOOL) golangci-lint fmt

## lint: what the compiler does not see
lint:
	$(TOOL) golangci-lint run

## install: the CRD and the accounts, into the cluster of the current context
install:
	kubectl apply -k config

## ci: what every change must pass
ci: verify lint test
	@$(MAKE) --no-print-directory demo DEMO=once >/dev/null

.PHONY: help build assets demo test bench chaos fuzz generate verify fmt lint install ci
