#!/usr/bin/env bash
# Builds the named programs of the local cluster from Go modules and prints their folder. The folder's name has a hash of the pinned
# modules, so programs that are there are up to date.
#
#   hack/cluster/build.sh kube-apiserver etcd [kubectl]    for tests with an API server
#   hack/cluster/build.sh node                             what a node needs besides, for pods: kubelet, kube-proxy, kubectl, ...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# Kubernetes reports the version it was linked with; clients and tools compare it.
version=$(sed -n 's/^\tk8s.io\/kubernetes \(v[^ ]*\).*/\1/p' "$here/kube/go.mod")
IFS=. read -r major minor _ <<<"${version#v}"
ldflags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
  for value in gitVersion="$version" gitMajor="$major" gitMinor="$minor" gitTreeState=clean; do
    ldflags+=" -X $package.$value"
  done
done
hash() { { cat "$@"; echo "$ldflags"; } | sha256sum | cut -c1-12; }
out=$(cd "$here/../.." && pwd)/bin
if [ "$*" = node ]; then
  grep -q "k8s.io/kubernetes $version" "$here/node/go.mod" || { echo "build.sh: node/go.mod and kube/go.mod differ in k8s.io/kubernetes" >&2; exit 1; }
  out+=/node-$(hash "$here"/node/{go.mod,go.sum,main.go})
else
  out+=/cluster-$(hash "$here"/{etcd,kube}/go.mod "$here"/{etcd,kube}/go.sum)
fi

build() { # name module package ldflags duration
  "$here/../progress.sh" "Downloading the modules of $1" go -C "$here/$2" mod download
  CGO_ENABLED=0 "$here/../progress.sh" "Building $1 (about $5 on 2 cores)" \
    go -C "$here/$2" build -trimpath -ldflags "$4" -o "$out/$1.new" "$3"
  mv "$out/$1.new" "$out/$1"
}

missing=()
for name in "$@"; do
  case $name in
    etcd | kube-apiserver | kubectl | node) [ -x "$out/$name" ] || missing+=("$name") ;;
    *) echo "build.sh: cannot build \"$name\"; it knows kube-apiserver, etcd, kubectl, or node alone" >&2; exit 2 ;;
  esac
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "Building ${missing[*]} (Kubernetes ${version#v}) from Go modules into ${out#"$PWD/"}, once." >&2
  [ "$*" = node ] || echo "To use others: set KUBEBUILDER_ASSETS, or run \"setup-envtest use\"; kubectl in PATH." >&2
  mkdir -p "$out"
fi
for name in "${missing[@]}"; do
  case $name in
    etcd) build etcd etcd go.etcd.io/etcd/server/v3 "-s -w" "1 minute" ;;
    kube-apiserver) build "$name" kube "k8s.io/kubernetes/cmd/$name" "$ldflags" "6 minutes" ;;
    kubectl) build "$name" kube "k8s.io/kubernetes/cmd/$name" "$ldflags" "1 minute" ;;
    node)
      for program in kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do ln -sf node "$out/$program"; done
      build node node . "$ldflags" "3 minutes"
      ;;
  esac
done
echo "$out"
