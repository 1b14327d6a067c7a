#!/usr/bin/env bash
# Fails when the packages or programs of this project call code with a known vulnerability, also of the Go version that built them.
# It needs no network once the modules are there: the vulnerability database is a pinned Go module, indexed once into bin/.
#
#   hack/vuln.sh bin/operator bin/receiver
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
tool=(go tool -modfile=hack/govulncheck/go.mod)
version=$(sed -n 's/^\tgolang.org\/x\/vulndb \(v[^ ]*\).*/\1/p' hack/govulncheck/go.mod)
database=$PWD/bin/vulndb-$version
if [ ! -d "$database" ]; then
  rm -rf bin/vulndb-*
  hack/progress.sh "Downloading the vulnerability database" go -C hack/govulncheck mod download golang.org/x/vulndb
  reports=$(go -C hack/govulncheck list -m -f '{{.Dir}}' golang.org/x/vulndb)/data/osv
  hack/progress.sh "Building the indexer of the vulnerability database" "${tool[@]}" -n indexdb
  hack/progress.sh "Indexing the vulnerability database" "${tool[@]}" indexdb -vulns "$reports" -out "$database.new"
  mv "$database.new" "$database"
fi

scan() { hack/tool.sh govulncheck -db "file://$database" "$@"; }

# report prints what a scan has found if it fails.
report() {
  local output
  if ! output=$(scan "$@"); then
    echo "$output"
    echo "To fix it, renew the module or the Go version named above: see CONTRIBUTING." >&2
    exit 1
  fi
}

report -tags grpcnotrace ./...
for program in "$@"; do
  report -mode binary "$program"
done
day=$(cut -d- -f2 <<<"$version" | cut -c1-8)
echo "No known vulnerability is called, by the database of $(date -d "$day" +%F)."
if [ "$day" -lt "$(date -d '90 days ago' +%Y%m%d)" ]; then
  echo "The database is older than 90 days. To renew it, see CONTRIBUTING." >&2
fi
