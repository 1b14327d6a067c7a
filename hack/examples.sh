#!/usr/bin/env bash
# Gets what test/examples needs, and tests what docs/consumers.md says of Node's frameworks: the modules of examples/node, which need Node.js and
# the built package of hack/npm.sh; and programs of Debian, of which it says which ones are missing, and whose tests are skipped then.
# Programs that the machine does not have are unpacked into bin/debian and not installed, because that would start them.
set -euo pipefail
cd "$(dirname "$0")/.."
progress=$PWD/hack/progress.sh
export PATH=$PATH:/usr/sbin

# Each with the package that has it.
declare -A packages=([nginx]=nginx [caddy]=caddy [systemd-analyze]=systemd [postgres]=postgresql)
unpacked=$PWD/bin/debian

found() {
  command -v "$1" >/dev/null || [ -n "$(compgen -G "/usr/lib/postgresql/*/bin/$1")" ] ||
    [ -n "$(compgen -G "$unpacked/usr/*bin/$1")" ] || [ -n "$(compgen -G "$unpacked/usr/lib/postgresql/*/bin/$1")" ]
}

# unpack unpacks packages, and those that they need and the machine does not have.
unpack() {
  local archives=$unpacked/archives
  mkdir -p "$archives/partial"
  local options=(-qq -y --no-install-recommends --download-only -o Debug::NoLocking=true -o "Dir::Cache::archives=$archives" -o APT::Sandbox::User=)
  apt-get install "${options[@]}" "$@" || { apt-get update -qq && apt-get install "${options[@]}" "$@"; }
  for archive in "$archives"/*.deb; do
    dpkg -x "$archive" "$unpacked"
  done
  rm -r "$archives"
}
export -f unpack
export unpacked

missing=()
for name in "${!packages[@]}"; do
  found "$name" || missing+=("${packages[$name]}")
done
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
  "$progress" "Downloading ${missing[*]}" bash -c 'set -e; unpack "$@"' bash "${missing[@]}" || true
fi
for name in "${!packages[@]}"; do
  found "$name" || echo "examples.sh: there is no $name, and Debian's could not be downloaded: its tests are skipped" >&2
done

"$progress" "Installing the modules of examples/node" npm --prefix examples/node ci --no-audit --no-fund
output=$(npm --prefix examples/node test 2>&1) || { echo "$output" >&2; exit 1; }
"$progress" "Downloading Go modules of examples/go" go -C examples/go mod download
