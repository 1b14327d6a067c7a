#!/usr/bin/env bash
# Checks the rendered chart against best practices for Kubernetes objects, with the values of each of its examples.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
chart=charts/mandrill-operator

# What the chart does otherwise, on purpose:
ignored=(
  container-image-pull-policy                   # tags are never moved, and image.pullPolicy changes it
  container-ephemeral-storage-request-and-limit # the programs write only their logs there, which the node rotates
  deployment-replicas                           # one operator works, and another would only wait for its Lease
  deployment-has-host-podantiaffinity           # topologySpreadConstraints spread the receivers, which this check does not know
  statefulset-has-host-podantiaffinity
)
kube_score=$(hack/tool.sh --path kube-score) helm=$(hack/tool.sh --path helm)
failed=
for values in "$chart"/examples/*.yaml; do
  # No limit of CPU: a receiver that is throttled answers Mandrill late.
  "$helm" template mandrill-operator "$chart" --namespace mandrill-operator-system --values "$values" --set crds.install=false |
    "$kube_score" score --kubernetes-version v1.34 --exit-one-on-warning --output-format ci --ignore-container-cpu-limit \
      "${ignored[@]/#/--ignore-test=}" - | { grep -v -e '^\[OK\]' -e '^\[SKIPPED\]' || true; } | sed "s|^|$values: |" || failed=1
done >&2
[ -z "$failed" ]
