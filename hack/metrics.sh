#!/usr/bin/env bash
# Prints the metrics of the receiver and the operator, with a sample of each, and fails when promtool has a complaint about them.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
metrics=$(go run ./hack/metrics)
hack/tool.sh promtool check metrics <<<"$metrics"
