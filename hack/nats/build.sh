#!/usr/bin/env bash
# Builds NATS servers of other versions from the Go module proxy and prints the folder they lie in. What exists is left alone:
# the folder's name carries a hash of the pinned modules. It prints nothing else unless it fails.
#
#   hack/nats/build.sh oldest      nats-server of the oldest version that the buffer supports
#   hack/nats/build.sh previous    a program that runs the server of the minor version before the linked one
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/nats-$(cat "$here"/build.sh "$here"/*/{go.mod,go.sum} "$here"/previous/main.go | sha256sum | cut -c1-12)
mkdir -p "$out"
for name in "$@"; do
  [ ! -x "$out/$name" ] || continue
  case $name in
    oldest) package=github.com/nats-io/nats-server/v2 ;;
    previous) package=. ;;
    *) echo "build.sh: there is no server $name" >&2; exit 2 ;;
  esac
  log=$(cd "$here/$name" && CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$out/$name.$$" "$package" 2>&1) || { echo "$log" >&2; exit 1; }
  mv "$out/$name.$$" "$out/$name"
done
echo "$out"
