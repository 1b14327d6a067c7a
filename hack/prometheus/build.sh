#!/usr/bin/env bash
# Builds Prometheus from its pinned module, once, and prints the path of the program. The folder's name has a hash of the pinned modules,
# so a program that is there is up to date. It has the service discovery of no cloud, and no pages: the API is whole. Without -trimpath it
# shares most of its packages with promtool.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../toolchain.sh"
out=$(cd "$here/../.." && pwd)/bin/prometheus-$(cat "$here"/go.{mod,sum} "$here/build.sh" | sha256sum | cut -c1-12)
if [ ! -x "$out/prometheus" ]; then
  package=github.com/prometheus/prometheus/cmd/prometheus
  mkdir -p "$out"
  CGO_ENABLED=0 "$here/../progress.sh" "Building Prometheus (about 2 minutes on 2 cores)" \
    go -C "$here" build -tags remove_all_sd -ldflags "-s -w" -o "$out/prometheus.new" "$package"
  mv "$out/prometheus.new" "$out/prometheus"
fi
echo "$out/prometheus"
