#!/usr/bin/env bash
# Runs a pinned tool, which is downloaded and built quietly the first time. Tools are in hack/tools.mod, except those whose
# dependencies do not agree with the others'.
#
#   hack/tool.sh golangci-lint run
#   hack/tool.sh --path cosign        prints where it is: for a tool that runs often, because go tool looks at all of its sources
set -euo pipefail
export CGO_ENABLED=${CGO_ENABLED:-0}
hack=$(cd "$(dirname "$0")" && pwd)
. "$hack/toolchain.sh"
print=
if [ "$1" = --path ]; then
  print=1
  shift
fi
modfile=$hack/tools.mod
if [ -f "$hack/$1/go.mod" ]; then
  modfile=$hack/$1/go.mod
fi
if [ "$1" = prometheus ] || [ "$1" = promtool ]; then
  modfile=$hack/prometheus/go.mod
  export GOFLAGS="${GOFLAGS:-} -tags=remove_all_sd" # leaves out the service discovery of the clouds and their libraries
fi
"$hack/progress.sh" "Building the tool $1" go tool -modfile="$modfile" -n "$1"
if [ -n "$print" ]; then
  exec go tool -modfile="$modfile" -n "$1"
fi
exec go tool -modfile="$modfile" "$@"
