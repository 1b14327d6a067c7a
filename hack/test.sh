#!/usr/bin/env bash
# Runs all tests with the race detector, which needs a C compiler, and reports what failed and what was slow. Those of the npm package need
# Node.js. The whole output of a
# package is in bin/test afterwards. Expects KUBEBUILDER_ASSETS.
#
#   hack/test.sh           without the end-to-end tests
#   hack/test.sh --e2e     with them, unless this machine cannot run pods: then the report says what it lacks
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
hack/progress.sh "Downloading Go modules" go mod download
hack/progress.sh "Downloading Go modules of test/conformance" go -C test/conformance mod download
hack/progress.sh "Downloading Go modules of test/argocd" go -C test/argocd mod download
hack/progress.sh "Downloading Go modules of hack/image" go -C hack/image mod download
hack/progress.sh "Downloading Go modules of hack/dashboards" go -C hack/dashboards mod download
hack/progress.sh "Downloading Go modules of hack/krew" go -C hack/krew mod download
hack/tool.sh helm version >/dev/null # for test/chart; it takes minutes the first time, and says so
hack/tool.sh --path promtool >/dev/null # these two for test/monitoring
hack/prometheus/build.sh >/dev/null
go build -o bin/testreport ./hack/testreport # not go run, which adds a line of its own to the summary
hack/npm.sh
packages=(./...)
e2e='' flags=()
if [ "${1:-}" = --e2e ]; then
  lacking=$([ -n "${E2E_KUBECONFIG:-}" ] || hack/cluster/cluster.sh lacks)
  if [ -z "$lacking" ]; then
    e2e=1
    mapfile -t packages < <(go list ./... | grep -v '/test/e2e$')
  else
    flags=(-left-out "test/e2e: $lacking")
  fi
fi
export CGO_ENABLED=1
{
  status=0
  go test -race -json -timeout 30m "${packages[@]}" || status=1
  go -C test/conformance test -race -json ./... || status=1
  go -C test/argocd test -race -json ./... || status=1
  CGO_ENABLED=0 go -C hack/image test -json ./... || status=1 # its tests make images of themselves, which must be static
  CGO_ENABLED=0 go -C hack/dashboards test -json ./... || status=1
  if [ -n "$e2e" ]; then
    hack/e2e.sh --json || status=1
  fi
  exit "$status"
} | bin/testreport -logs bin/test "${flags[@]}"
