#!/usr/bin/env bash
# Gets what test/examples needs: the modules of examples/node, after hack/npm.sh, and programs of Debian. Programs that the machine does not
# have are unpacked into bin/debian, and not installed, because that would start them. Where they cannot be had it says so, and their tests
# are skipped. It also runs the tests of examples/node.
set -euo pipefail
cd "$(dirname "$0")/.."
progress=$PWD/hack/progress.sh
export PATH=$PATH:/usr/sbin

# Each with the package that has it.
declare -A packages=([nginx]=nginx [caddy]=caddy [systemd-analyze]=systemd [postgres]=postgresql [strace]=strace)
unpacked=$PWD/bin/debian

found() {
  command -v "$1" >/dev/null || [ -n "$(compgen -G "/usr/lib/postgresql/*/bin/$1")" ] ||
    [ -n "$(compgen -G "$unpacked/usr/*bin/$1")" ] || [ -n "$(compgen -G "$unpacked/usr/lib/postgresql/*/bin/$1")" ]
}

# unpack unpacks a package, and those that it needs and the machine does not have.
unpack() {
  local archives=$unpacked/archives
  mkdir -p "$archives/partial"
  local options=(-qq -y --no-install-recommends --download-only -o Debug::NoLocking=true -o "Dir::Cache::archives=$archives" -o APT::Sandbox::User=)
  apt-get install "${options[@]}" "$1" || { apt-get update -qq && apt-get install "${options[@]}" "$1"; }
  for archive in "$archives"/*.deb; do
    dpkg -x "$archive" "$unpacked"
  done
  rm -r "$archives"
}
export -f unpack
export unpacked

if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
  for name in "${!packages[@]}"; do
    found "$name" || "$progress" "Downloading ${packages[$name]}" bash -c 'set -e; unpack "$1"' bash "${packages[$name]}" || true
  done
fi
for name in "${!packages[@]}"; do
  found "$name" || echo "examples.sh: there is no $name, and Debian's could not be downloaded: its tests are skipped" >&2
done

"$progress" "Installing the modules of examples/node" npm --prefix examples/node ci --no-audit --no-fund
output=$(npm --prefix examples/node test 2>&1) || { echo "$output" >&2; exit 1; }
