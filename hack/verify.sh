#!/usr/bin/env bash
# Fails when generating changed anything that is committed, or left something that is not.
set -euo pipefail
cd "$(dirname "$0")/.."
paths=(api config docs)
changes=$(git status --porcelain -- "${paths[@]}")
if [ -n "$changes" ]; then
  git --no-pager diff -- "${paths[@]}"
  echo "generated files differ from what is committed; run make generate and commit the result:" >&2
  echo "$changes" >&2
  exit 1
fi
go mod tidy -diff
(cd hack/cluster/kube && go mod tidy -diff)
(cd hack/cluster/etcd && go mod tidy -diff)
