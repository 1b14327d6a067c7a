#!/usr/bin/env bash
# Builds the oldest NATS server that the buffer supports from its Go module, and prints its path. What exists is left alone: the
# folder's name carries a hash of the pinned modules. Output of the build is shown only if it fails.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/nats-$(cat "$here"/oldest/go.mod "$here"/oldest/go.sum "$here"/build.sh | sha256sum | cut -c1-12)
binary=$out/nats-server
if [ ! -x "$binary" ]; then
  mkdir -p "$out"
  new=$(mktemp "$binary.XXXXXX")
  log=$(cd "$here/oldest" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$new" github.com/nats-io/nats-server/v2 2>&1) || { echo "$log" >&2; rm -f "$new"; exit 1; }
  mv "$new" "$binary"
fi
echo "$binary"
