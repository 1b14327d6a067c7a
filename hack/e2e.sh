#!/usr/bin/env bash
# Runs the end-to-end tests (test/e2e) with the images and the chart of this tree, and prints what was slow. Arguments go to go test.
# The cluster is, in this order: that of E2E_KUBECONFIG, whose nodes pull from E2E_REGISTRY, such as registry.example.com/test; or the one
# of hack/cluster/cluster.sh, which keeps running afterwards. KUBECTL and HELM replace the programs that are built otherwise.
#
#   hack/e2e.sh -run TestInstallation/RollingRestart
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
export CGO_ENABLED=0 E2E_TAG=${E2E_TAG:-e2e}
tools=$PWD/bin/e2e
mkdir -p "$tools"
if [ -n "${E2E_KUBECONFIG:-}" ]; then
  [ -n "${E2E_REGISTRY:-}" ] || { echo "e2e.sh: E2E_KUBECONFIG needs E2E_REGISTRY, from which its nodes pull the images" >&2; exit 2; }
else
  hack/cluster/cluster.sh up
  export E2E_CLUSTER=$PWD/hack/cluster/cluster.sh E2E_KUBECONFIG=${CLUSTER_DIR:-$PWD/bin/cluster}/kubeconfig
fi

# The programs of the tests, before the images, so that a failure to build is seen early.
hack/progress.sh "Building the end-to-end tests" go test -c -o "$tools/e2e.test" ./test/e2e
hack/progress.sh "Building the traffic of the tests" go build -trimpath -ldflags "-s -w" -o "$tools/" ./test/e2e/traffic
hack/tool.sh helm version >/dev/null
ln -sf "${HELM:-$(go tool -modfile=hack/helm/go.mod -n helm)}" "$tools/helm"
ln -sf "${KUBECTL:-$(hack/cluster/build.sh node)/kubectl}" "$tools/kubectl"
go build -o bin/testreport ./hack/testreport

arch=$(go env GOARCH)
make --no-print-directory image VERSION="$E2E_TAG" IMAGE_ARCHS="$arch" DIST="$tools/dist" IMAGE_PUSH="${E2E_REGISTRY:-}" >/dev/null
hack/cluster/image.sh "$tools/traffic.tar" "${E2E_REGISTRY:-mandrill-operator.io}/traffic:$E2E_TAG" "$tools/traffic"
if [ -n "${E2E_REGISTRY:-}" ]; then
  bin/image push "$tools/traffic.tar" "$E2E_REGISTRY/traffic:$E2E_TAG"
else
  hack/cluster/cluster.sh load "$tools"/dist/images/*-"$arch".tar "$tools/traffic.tar"
fi

PATH=$tools:$PATH go test -json -count=1 -timeout 30m ./test/e2e "$@" | bin/testreport -logs bin/test-e2e
