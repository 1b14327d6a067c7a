#!/usr/bin/env bash
# Runs test/gitops: Flux's controllers, a Git server and an OCI registry on loopback, an API server, and our programs. Arguments go to
# go test.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
export CGO_ENABLED=0
GITOPS_FLUX=$(hack/flux/build.sh)
GITOPS_HELM=$(hack/tool.sh --path helm)
export GITOPS_FLUX GITOPS_HELM GITOPS_PROGRAMS=$PWD/bin
make --no-print-directory build
hack/progress.sh "Building the registry" go -C hack/image build -o ../../bin/image .
hack/assets.sh go test -count=1 -timeout 20m ./test/gitops "$@"
