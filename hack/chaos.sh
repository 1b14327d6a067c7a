#!/usr/bin/env bash
# Does harm to receivers with a buffer for some 20 minutes and prints what was seen. Needs root, to mount small volumes in
# a namespace of its own; without, these parts are skipped. Arguments go to the test, as -run Kill.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v strace >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends strace >/dev/null; } ||
  echo "There is no strace, and it could not be installed: it is not looked at whether batches are synced." >&2
CGO_ENABLED=1 go test -race -count=1 -timeout 40m -v -parallel 4 ./test/chaos -long "$@" | grep --line-buffered -v '^=== '
