#!/usr/bin/env bash
# Tests the page of a receiver, and that of all receivers, in a real Chromium. Needs Node.js 20.14 or later with npm, and Chromium, which it
# installs on Debian as root. CHROMIUM is the browser's path; SCREENSHOTS is a folder that gets pictures.
#
#   hack/ui.sh              tests
#   hack/ui.sh --if-can     does nothing where there is no Chromium and none can be had
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh

node_works() { node -e 'process.exit(process.versions.node.localeCompare("20.14", undefined, { numeric: true }) < 0 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null; }
chromium_works() { [ -n "${CHROMIUM:-}" ] || command -v chromium chromium-browser google-chrome >/dev/null; }

packages=() # only those that are missing: a Node.js of another origin conflicts with Debian's npm
node_works || packages+=(nodejs npm)
chromium_works || packages+=(chromium)
if [ ${#packages[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  hack/progress.sh "Installing ${packages[*]}" sh -c \
    'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"' sh "${packages[@]}" || true
fi
if ! { node_works && chromium_works; }; then
  echo "ui.sh: Node.js 20.14 or later with npm, and Chromium, are needed to test the page." >&2
  [ "${1:-}" = --if-can ] && exit 0
  exit 1
fi

export RECEIVER=$PWD/bin/receiver OVERVIEW=$PWD/bin/test/overview
hack/progress.sh "Building the page of all receivers" go build -o "$OVERVIEW" ./test/ui/overview
cd test/ui
../../hack/progress.sh "Installing Playwright and axe" npm ci --no-audit --no-fund
output=$(mktemp)
trap 'rm -f "$output"' EXIT
node --test --test-reporter=spec --test-concurrency=1 --test-timeout=1800000 --test-force-exit page.test.mjs overview.test.mjs >"$output" 2>&1 || { cat "$output" >&2; exit 1; }
echo "The tests of the page passed in Chromium."
