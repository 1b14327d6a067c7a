#!/usr/bin/env bash
# Runs a pinned tool, which is downloaded and built quietly the first time. Tools are in hack/tools.mod, except those whose
# dependencies do not agree with the others'.
#
#   hack/tool.sh golangci-lint run
set -euo pipefail
export CGO_ENABLED=${CGO_ENABLED:-0}
hack=$(cd "$(dirname "$0")" && pwd)
. "$hack/toolchain.sh"
modfile=$hack/tools.mod
if [ -f "$hack/$1/go.mod" ]; then
  modfile=$hack/$1/go.mod
fi
if [ "$1" = promtool ]; then
  export GOFLAGS="${GOFLAGS:-} -tags=remove_all_sd" # leaves out the service discovery of the clouds and their libraries
fi
"$hack/progress.sh" "Building the tool $1" go tool -modfile="$modfile" -n "$1"
exec go tool -modfile="$modfile" "$@"
