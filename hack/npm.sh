#!/usr/bin/env bash
# Builds the npm package, tests it, and installs what would be published into an empty project; and validates schemas/asyncapi.json. Needs Node.js 18 or later with npm, which
# it installs on Debian as root.
#
#   hack/npm.sh             tests
#   hack/npm.sh publish     publishes it as VERSION as well, with the identity of the GitHub workflow that runs it
set -euo pipefail
cd "$(dirname "$0")/.."
progress=$PWD/hack/progress.sh

usable() { node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)' 2>/dev/null && command -v npm >/dev/null; }

if ! usable && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  "$progress" "Installing Node.js" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nodejs npm'
fi
if ! usable; then
  echo "npm.sh: Node.js 18 or later and npm are needed to test packages/mandrill-events." >&2
  exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd packages/mandrill-events
"$progress" "Installing the modules of packages/mandrill-events" npm ci --no-audit --no-fund
"$progress" "Building packages/mandrill-events" npm run build
npm test >"$work/output" 2>&1 || { cat "$work/output" >&2; exit 1; }

# The package as its users get it.
if [ "${1:-}" = publish ]; then
  npm pkg set "version=${VERSION#v}"
fi
npm pack --silent --pack-destination "$work" >/dev/null
mkdir "$work/user"
cd "$work/user"
echo '{"private": true}' >package.json
"$progress" "Installing the package" npm install --offline --no-audit --no-fund "$work"/*.tgz
for script in 'import("@mandrill-operator/events").then(use)' 'use(require("@mandrill-operator/events"))'; do
  node -e "const use = ({ parse }) => { if (parse({ type: 'com.mandrill.message.open', data: { event: 'open', msg: [] } }).data.msg.tags.length !== 0) process.exit(1); }; $script"
done
cd - >/dev/null
"$progress" "Installing AsyncAPI's parser" npm --prefix ../../hack/asyncapi ci --no-audit --no-fund
node ../../hack/asyncapi/check.mjs
if [ "${1:-}" = publish ]; then
  npm publish --provenance --access public "$work"/*.tgz
fi
echo "The tests of packages/mandrill-events passed."
