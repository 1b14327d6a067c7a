#!/usr/bin/env bash
# Builds Flux's controllers from Go modules and prints their folder, which has their CRDs as well. The folder's name has a hash of the
# pinned modules, so programs that are there are up to date.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
controllers=(source-controller kustomize-controller helm-controller)
out=$(cd "$here/../.." && pwd)/bin/flux-$(cat "$here"/*/go.{mod,sum} | sha256sum | cut -c1-12)
mkdir -p "$out/crds"
for name in "${controllers[@]}"; do
  [ -x "$out/$name" ] && continue
  "$here/../progress.sh" "Downloading the modules of $name" go -C "$here/$name" mod download "github.com/fluxcd/$name"
  CGO_ENABLED=0 "$here/../progress.sh" "Building $name (about 4 minutes on 2 cores)" \
    go -C "$here/$name" build -trimpath -ldflags "-s -w" -o "$out/$name.new" "github.com/fluxcd/$name"
  cp --no-preserve=mode "$(go -C "$here/$name" list -m -f '{{.Dir}}' "github.com/fluxcd/$name")"/config/crd/bases/*.yaml "$out/crds/"
  mv "$out/$name.new" "$out/$name"
done
echo "$out"
