#!/usr/bin/env bash
# Does harm to receivers with a buffer for some 15 minutes and prints what was seen. Needs root, for volumes and networks in
# namespaces of their own; without, these parts are skipped. Arguments go to the test, as -run Kill.
set -euo pipefail
cd "$(dirname "$0")/.."
# need names a program, the Debian package that has it, and what is not known without it.
need() {
  command -v "$1" >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$2" >/dev/null; } ||
    echo "There is no $1, and it could not be installed: it is not looked at $3." >&2
}
need strace strace "whether batches are synced"
need bridge iproute2 "what happens when networks are cut"
# Without the race detector, which takes two thirds of the time, and most of that from the disk that forgets: "make test" has it.
go test -count=1 -timeout 60m -v -parallel 4 ./test/chaos -long "$@" | grep --line-buffered -v '^=== '
