#!/usr/bin/env bash
# Builds the named binaries of the local cluster from the Go module proxy and prints the folder they
# lie in. What exists is left alone: the folder's name carries a hash of the pinned modules.
#
#   hack/cluster/build.sh kube-apiserver etcd [kubectl]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/cluster-$(cat "$here"/*/go.mod "$here"/*/go.sum "$here"/build.sh | sha256sum | cut -c1-12)

# Kubernetes reports the version it was linked with; clients and tools compare it.
version=$(cd "$here/kube" && go list -m -f "{{.Version}}" k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  for value in gitVersion="$version" gitMajor="$major" gitMinor="$minor" gitTreeState=clean; do
    ldflags+=" -X $package.$value"
  done
done

build() { # name module package ldflags
  [ ! -x "$out/$1" ] || return 0
  echo "building $1 from Go modules (kube-apiserver takes about 6 minutes the first time on 2 cores) ..." >&2
  start=$SECONDS
  (cd "$here/$2" && CGO_ENABLED=0 go build -trimpath -ldflags "$4" -o "$out/$1.new" "$3")
  mv "$out/$1.new" "$out/$1"
  echo "built $1 in $((SECONDS - start)) s" >&2
}

mkdir -p "$out"
for name in "$@"; do
  case $name in
    etcd) build etcd etcd go.etcd.io/etcd/server/v3 "-s -w" ;;
    kube-apiserver | kubectl) build "$name" kube "k8s.io/kubernetes/cmd/$name" "$ldflags" ;;
    *) echo "build.sh: cannot build \"$name\"; it knows kube-apiserver, etcd and kubectl" >&2; exit 2 ;;
  esac
done
echo "$out"
