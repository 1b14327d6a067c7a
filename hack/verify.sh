#!/usr/bin/env bash
# Generates again and fails when that changed anything, or when a go.mod is not tidy.
set -euo pipefail
cd "$(dirname "$0")/.."
generated=(api/v1alpha1/zz_generated.deepcopy.go config/crd/*.yaml config/rbac/role.yaml docs/api.md docs/events.md)
before=$(sha256sum "${generated[@]}")
make --no-print-directory generate
if ! diff <(echo "$before") <(sha256sum "${generated[@]}") >&2; then
  echo "these generated files were out of date and have been made again; commit them" >&2
  exit 1
fi
for module in . hack/cluster/kube hack/cluster/etcd hack/nats/oldest test/conformance; do
  (cd "$module" && go mod tidy -diff)
done
