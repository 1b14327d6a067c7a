#!/usr/bin/env bash
# Runs all tests with the race detector, which needs a C compiler, and reports what failed and what was slow. Those of the npm package need
# Node.js. The whole output of a
# package is in bin/test afterwards. Expects KUBEBUILDER_ASSETS.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
hack/progress.sh "Downloading Go modules" go mod download
hack/progress.sh "Downloading Go modules of test/conformance" go -C test/conformance mod download
hack/progress.sh "Downloading Go modules of hack/image" go -C hack/image mod download
hack/tool.sh helm version >/dev/null # for test/chart; it takes minutes the first time, and says so
go build -o bin/testreport ./hack/testreport # not go run, which adds a line of its own to the summary
hack/npm.sh
export CGO_ENABLED=1
{
  status=0
  go test -race -json -timeout 30m ./... || status=1
  go -C test/conformance test -race -json ./... || status=1
  CGO_ENABLED=0 go -C hack/image test -json ./... || status=1 # its tests make images of themselves, which must be static
  exit "$status"
} | bin/testreport -logs bin/test
