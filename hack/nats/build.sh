#!/usr/bin/env bash
# Builds NATS servers of other versions from the Go module proxy and prints the folder they lie in. What exists is left alone:
# the folder's name carries a hash of the pinned modules. It prints nothing else on standard output.
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
  CGO_ENABLED=0 "$here/../progress.sh" "Building the NATS server $name" go -C "$here/$name" build -trimpath -ldflags "-s -w" -o "$out/$name.$$" "$package"
  mv "$out/$name.$$" "$out/$name"
done
echo "$out"
