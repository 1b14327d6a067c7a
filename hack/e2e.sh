#!/usr/bin/env bash
# Runs the end-to-end tests (test/e2e) with the images and the chart of this tree, and prints what was slow. Arguments go to go test.
# The cluster is, in this order: that of E2E_KUBECONFIG, whose nodes pull from E2E_REGISTRY, such as registry.example.com/test; or the one
# of hack/cluster/cluster.sh, which keeps running afterwards. KUBECTL, HELM and NGINX replace the programs that are built or downloaded.
# E2E_PREVIOUS_REF is the version from which to upgrade: the last tag unless set; none to leave that out.
#
#   hack/e2e.sh -run TestInstallation/RollingRestart
#   hack/e2e.sh --json           prints what go test -json prints, for hack/test.sh, and ends the cluster if it was started for this
#   hack/e2e.sh --knative        runs those with Knative instead, which it installs on the cluster of hack/cluster/cluster.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
export CGO_ENABLED=0 E2E_TAG=${E2E_TAG:-e2e}
tools=$PWD/bin/e2e
arch=$(go env GOARCH)
images=() # archives
json='' knative=''
while true; do
  case ${1:-} in
    --json) json=1 ;;
    --knative) knative=1 ;;
    *) break ;;
  esac
  shift
done

# ended reports a failure before the tests as one of their package, and ends what this script started.
testing='' started=''
ended() {
  local status=$?
  if [ -n "$json" ] && [ "$status" != 0 ] && [ -z "$testing" ]; then
    package=github.com/mandrill-operator/mandrill-operator/test/e2e
    echo '{"Action":"output","Package":"'$package'","Output":"hack/e2e.sh failed before the tests, see above\n"}'
    echo '{"Action":"fail","Package":"'$package'"}'
  fi
  [ -z "$started" ] || hack/cluster/cluster.sh down || echo "e2e.sh: the cluster did not end" >&2
}
trap ended EXIT

cluster() {
  if [ -n "${E2E_KUBECONFIG:-}" ]; then
    [ -z "$knative" ] || { echo "e2e.sh: Knative is tested on the cluster of hack/cluster/cluster.sh only: unset E2E_KUBECONFIG" >&2; exit 2; }
    [ -n "${E2E_REGISTRY:-}" ] || { echo "e2e.sh: E2E_KUBECONFIG needs E2E_REGISTRY, from which its nodes pull the images" >&2; exit 2; }
    return
  fi
  if [ -n "$json" ] && ! hack/cluster/cluster.sh runs; then
    started=1
  fi
  hack/cluster/cluster.sh up
  export E2E_CLUSTER=$PWD/hack/cluster/cluster.sh E2E_KUBECONFIG=${CLUSTER_DIR:-$PWD/bin/cluster}/kubeconfig
}

# programs builds what runs the tests, before the images, so that a failure to build is seen early.
programs() {
  mkdir -p "$tools"
  hack/progress.sh "Building the end-to-end tests" go test -c -o "$tools/e2e.test" ./test/e2e
  hack/tool.sh helm version >/dev/null
  ln -sf "${HELM:-$(go tool -modfile=hack/helm/go.mod -n helm)}" "$tools/helm"
  ln -sf "${KUBECTL:-$(hack/cluster/build.sh node)/kubectl}" "$tools/kubectl"
  go build -o bin/testreport ./hack/testreport
  if [ -n "${E2E_CLUSTER:-}" ] && [ -z "$knative" ]; then
    find_nginx || echo "e2e.sh: there is no nginx, and Debian's could not be downloaded: the test of nginx is skipped" >&2
  fi
}

# find_nginx finds Debian's, or downloads it without installing it, which would start it.
find_nginx() {
  local folder=$tools/nginx progress=$PWD/hack/progress.sh
  if [ -z "${NGINX:-}" ] && ! NGINX=$(PATH=$PATH:/usr/sbin command -v nginx); then
    NGINX=$folder/usr/sbin/nginx
    [ -x "$NGINX" ] || (
      mkdir -p "$folder" && cd "$folder" && "$progress" "Downloading nginx" sh -c \
        '{ apt-get download -qq nginx || { apt-get update -qq && apt-get download -qq nginx; }; } && dpkg -x nginx_*.deb .'
    ) || return
  fi
  export E2E_NGINX=$NGINX
}

# program makes an image of a static program.
program() { # name package [module]
  hack/progress.sh "Building $1" go -C "${3:-.}" build -trimpath -ldflags "-s -w" -o "$tools/$1" "$2"
  hack/cluster/image.sh "$tools/$1.tar" "${E2E_REGISTRY:-mandrill-operator.io}/$1:$E2E_TAG" "$tools/$1"
  if [ -n "${E2E_REGISTRY:-}" ]; then
    bin/image push "$tools/$1.tar" "$E2E_REGISTRY/$1:$E2E_TAG"
  else
    images+=("$tools/$1.tar")
  fi
}

# release makes the images of a tree.
release() { # tree tag dist
  make --no-print-directory -C "$1" image VERSION="$2" IMAGE_ARCHS="$arch" DIST="$3" IMAGE_REPO="${E2E_REGISTRY:-mandrill-operator.io}" \
    IMAGE_PUSH="${E2E_REGISTRY:-}" >/dev/null
  [ -n "${E2E_REGISTRY:-}" ] || images+=("$3"/images/*-"$arch".tar)
}

# previous makes images and chart of the version before this one, once.
previous() {
  local ref=${E2E_PREVIOUS_REF:-} folder
  # Until there is a tag: a commit whose CRD and buffers this version takes over.
  [ -n "$ref" ] || ref=$(git describe --tags --abbrev=0 'HEAD^' 2>/dev/null) || ref=e1c7a0af8d6c
  if [ "$ref" = none ] || ! ref=$(git rev-parse --quiet --verify "$ref^{commit}"); then
    echo "e2e.sh: the test of the upgrade is skipped: the clone does not have the version before this one" >&2
    return
  fi
  folder=$tools/previous-${ref::12}
  if [ ! -e "$folder/charts" ]; then
    rm -rf "$tools"/previous-*
    mkdir -p "$folder/tree"
    git archive "$ref" | tar -x -C "$folder/tree"
    COMMIT=$ref SOURCE_DATE_EPOCH=0 release "$folder/tree" previous "$folder/dist"
    mv "$folder/tree/charts" "$folder/charts"
    rm -rf "$folder/tree" "$folder/dist/bin" "$folder/dist/oci"
  elif [ -z "${E2E_REGISTRY:-}" ]; then
    images+=("$folder"/dist/images/*-"$arch".tar)
  fi
  export E2E_PREVIOUS=$folder
}

# certmanager makes the image of cert-manager's controllers, and a file with its CRDs.
certmanager() {
  local folder file
  program certmanager . hack/certmanager
  folder=$(go -C hack/certmanager list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
  for file in "$folder"/deploy/crds/*.yaml; do
    echo ---
    cat "$file"
  done >"$tools/certmanager.yaml"
  export E2E_CERTMANAGER=$tools/certmanager.yaml
}

# knative makes the images of Knative and the programs of its tests.
knative() {
  local folder
  folder=$(hack/knative/build.sh)
  hack/progress.sh "Building Knative's conformance tests" go -C hack/knative test -c -o "$tools/source.test" ./source
  images+=("$folder"/*.tar)
  export E2E_KNATIVE=$folder
}

cluster
programs
release . "$E2E_TAG" "$tools/dist"
program traffic ./test/e2e/traffic
certmanager
if [ -n "$knative" ]; then
  knative
  set -- -run '^TestKnative' "$@"
else
  program skipper github.com/zalando/skipper/cmd/skipper hack/skipper
  previous
fi
[ ${#images[@]} = 0 ] || hack/cluster/cluster.sh load "${images[@]}"

# Tests wait more than they compute.
testing=1
PATH=$tools:$PATH
if [ -n "$json" ]; then
  go test -json -count=1 -timeout 90m -parallel 4 ./test/e2e "$@"
else
  go test -json -count=1 -timeout 90m -parallel 4 ./test/e2e "$@" | bin/testreport -logs bin/test-e2e
fi
