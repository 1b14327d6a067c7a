#!/usr/bin/env bash
# Fails when generated files are out of date, when a go.mod is not tidy, and when a metric, a workflow or the chart has a fault.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
chart=charts/mandrill-operator
generated=(api/v1alpha1/zz_generated.deepcopy.go config/crd/*.yaml config/rbac/*.yaml docs/api.md docs/cli.md docs/events.md docs/events/*.md
  schemas/asyncapi.json schemas/v1/*.json schemas/v1/normalized/*.json packages/mandrill-events/src/{fields,types}.ts packages/mandrill-events/test/fixtures.json
  "$chart"/README.md "$chart"/files/*.yaml "$chart"/files/dashboards/*.json config/{default,operator,receiver,drain,sidecar-injection}/*.yaml)
hack/progress.sh "Downloading Go modules" go mod download
before=$(sha256sum "${generated[@]}")
make --no-print-directory generate
if ! diff <(echo "$before") <(sha256sum "${generated[@]}") >&2; then
  echo "These generated files were out of date and have been regenerated: commit them." >&2
  exit 1
fi
# Not hack/prometheus, hack/promtool, hack/cosign, hack/skipper, hack/certmanager and hack/flux: to tidy them, Go downloads the modules
# of all build tags, hundreds that the build does not need.
for module in . hack/image hack/dashboards hack/cyclonedx-gomod hack/cluster/kube hack/cluster/etcd hack/cluster/node hack/actionlint hack/govulncheck hack/helm hack/knative hack/kube-score hack/krew hack/nats/oldest hack/nats/previous test/argocd test/conformance examples/go; do
  hack/progress.sh "Checking that $module/go.mod is tidy" go -C "$module" mod tidy -diff
done
# Without the checks that depend on which other linters a machine has.
hack/tool.sh actionlint -shellcheck= -pyflakes=
hack/metrics.sh
hack/score.sh
