#!/usr/bin/env bash
# Runs a command with KUBEBUILDER_ASSETS set to a folder with etcd and kube-apiserver; without a command, prints the folder.
# It is, in this order: KUBEBUILDER_ASSETS as it is set; what setup-envtest has installed; what hack/cluster/build.sh builds.
#
#   hack/assets.sh go test ./test/apiserver
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/toolchain.sh"

complete() { [ -x "$1/etcd" ] && [ -x "$1/kube-apiserver" ]; }

# installed prints the newest version in setup-envtest's default folder that this project supports: the minor version of client-go,
# or one of the three before it. It looks into the folder itself because setup-envtest may not be in PATH any more.
installed() {
  local minor store version folder
  minor=$(sed -n 's/^\tk8s.io\/client-go v0\.\([0-9]*\)\..*/\1/p' "$here/../go.mod")
  case $(go env GOHOSTOS) in
    darwin) store="$HOME/Library/Application Support/io.kubebuilder.envtest" ;;
    *) store="${XDG_DATA_HOME:-$HOME/.local/share}/kubebuilder-envtest" ;;
  esac
  for version in "$minor" $((minor - 1)) $((minor - 2)) $((minor - 3)); do
    while read -r folder; do
      if complete "$folder"; then
        echo "$folder"
        return 0
      fi
    done < <(printf '%s\n' "$store/k8s/1.$version."*"-$(go env GOHOSTOS)-$(go env GOHOSTARCH)" | sort -rV)
  done
  return 1
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  complete "$KUBEBUILDER_ASSETS" || { echo "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS: etcd or kube-apiserver is missing there" >&2; exit 1; }
elif ! KUBEBUILDER_ASSETS=$(installed); then
  KUBEBUILDER_ASSETS=$("$here/cluster/build.sh" etcd kube-apiserver)
fi
export KUBEBUILDER_ASSETS
[ $# -gt 0 ] || exec echo "$KUBEBUILDER_ASSETS"
exec "$@"
