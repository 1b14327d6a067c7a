#!/usr/bin/env bash
# Builds servers of other NATS versions from the Go module proxy and prints the folder they lie in. What exists is left alone:
# the folder's name carries a hash of the pinned modules. It prints nothing else unless it fails.
#
#   hack/nats/build.sh previous
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/nats-$(cat "$here"/build.sh "$here"/*/{go.mod,go.sum,main.go} | sha256sum | cut -c1-12)
mkdir -p "$out"
for name in "$@"; do
  [ ! -x "$out/$name" ] || continue
  log=$(cd "$here/$name" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/$name.$$" . 2>&1) || { echo "$log" >&2; exit 1; }
  mv "$out/$name.$$" "$out/$name"
done
echo "$out"
