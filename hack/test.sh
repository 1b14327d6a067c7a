#!/usr/bin/env bash
# Runs tests, and reports what failed and what was slow. The whole output of a package is in bin/test afterwards. Expects
# KUBEBUILDER_ASSETS.
#
#   hack/test.sh             those of the code, with the race detector, which needs a C compiler; those of the npm package need Node.js
#   hack/test.sh --system    those that run programs of ours or of others as processes, without the race detector, which would see nothing
#                            of them, and test/apiserver with it
#   hack/test.sh --all       both, and the end-to-end tests, unless this machine cannot run pods: then the report says what it lacks
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
code='' system='' e2e='' flags=()
case ${1:-} in
  '') code=1 ;;
  --system) system=1 ;;
  --all) code=1 system=1 ;;
  *) echo "usage: hack/test.sh [--system | --all]" >&2; exit 2 ;;
esac
system_packages='test/(chaos|chart|cli|monitoring|receiver|scripts|upgrade)'
outage='^TestAnOutageIsVisibleFromBeginningToEnd$' # of test/apiserver; it waits for six minutes, as an outage does
hack/progress.sh "Downloading Go modules" go mod download
if [ -n "$code" ]; then
  for folder in test/conformance test/argocd examples/go hack/image hack/dashboards hack/krew; do
    hack/progress.sh "Downloading Go modules of $folder" go -C "$folder" mod download
  done
  hack/npm.sh
  hack/examples.sh # for test/examples
fi
if [ -n "$system" ]; then
  hack/tool.sh helm version >/dev/null # for test/chart; it takes minutes the first time, and says so
  hack/tool.sh --path promtool >/dev/null # these two for test/monitoring
  hack/prometheus/build.sh >/dev/null
fi
go build -o bin/testreport ./hack/testreport # not go run, which adds a line of its own to the summary
if [ -n "$code" ] && [ -n "$system" ]; then
  lacking=$([ -n "${E2E_KUBECONFIG:-}" ] || hack/cluster/cluster.sh lacks)
  if [ -z "$lacking" ]; then
    e2e=1
  else
    flags=(-left-out "test/e2e: $lacking")
  fi
fi
all=$(go list ./...)
# The slowest one goes first: it waits for the disk most of the time, and would run alone in the end.
mapfile -t code_packages < <(grep -E "/receiver/journal$" <<<"$all"; grep -vE "/receiver/journal$|/($system_packages)$|/test/(apiserver|e2e)$" <<<"$all")
mapfile -t system_packages < <(grep -E "/($system_packages)$" <<<"$all")
{
  status=0
  if [ -n "$code" ]; then
    export CGO_ENABLED=1
    go test -race -json -timeout 30m "${code_packages[@]}" || status=1
    go -C test/conformance test -race -json ./... || status=1
    go -C test/argocd test -race -json ./... || status=1
    export CGO_ENABLED=0
    go -C examples/go test -json ./... || status=1 # without the race detector, which takes minutes to compile SQLite
    go -C hack/image test -json ./... || status=1 # its tests make images of themselves, which must be static
    go -C hack/dashboards test -json ./... || status=1
  fi
  if [ -n "$system" ]; then
    export CGO_ENABLED=0
    printed=$(mktemp -d)
    # -trimpath because programs are built with it: so nothing is compiled twice.
    go test -trimpath -json -timeout 30m -run "$outage" ./test/apiserver >"$printed/outage" &
    beside=$!
    CGO_ENABLED=1 go test -race -json -timeout 30m -skip "$outage" ./test/apiserver >"$printed/others" &
    go test -trimpath -json -timeout 30m "${system_packages[@]}" || status=1
    wait $! || status=1
    wait "$beside" || status=1
    cat "$printed"/*
    rm -r "$printed"
  fi
  if [ -n "$e2e" ]; then
    hack/e2e.sh --json || status=1
  elif [ -n "$code" ]; then
    CGO_ENABLED=0 go test -json ./test/e2e || status=1 # they skip themselves
  fi
  exit "$status"
} | bin/testreport -logs bin/test "${flags[@]}"
