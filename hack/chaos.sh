#!/usr/bin/env bash
# Injects faults into real receivers with a buffer for about 15 minutes and prints what happened. Faults of disks and networks need
# root, for volumes and networks in namespaces of their own; without root those tests are skipped. Arguments go to go test: -run Kill.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
# need installs a program from a Debian package if it is missing. The third argument is what the tests cannot check without it.
need() {
  command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$2" >/dev/null; } ||
    echo "$1 is missing and could not be installed: the tests do not check $3." >&2
}
need strace strace "that batches are synced before they are accepted"
need bridge iproute2 "network partitions"
go test -count=1 -timeout 60m -v -parallel 4 ./test/chaos -long "$@" | grep --line-buffered -v '^=== '
