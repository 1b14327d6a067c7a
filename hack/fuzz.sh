#!/usr/bin/env bash
# Runs every fuzz target of the project for the given time, one after the other, or only the named one.
#
#   hack/fuzz.sh 60s [FuzzName]
#
# go test -fuzz succeeds without a target. So the targets are those that the test programs list, the script compares their number
# with the sources', and a run that finds no target is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
time=${1:?usage: hack/fuzz.sh DURATION [TARGET]}
only=${2:-}
files=$(grep -rlE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*\(' . | sort || true)
mapfile -t packages < <(xargs -r dirname <<<"$files" | sort -u)
if ! listed=$(go test -list '^Fuzz' "${packages[@]}"); then
  echo "$listed" >&2
  exit 1
fi
targets=$(awk '/^Fuzz/ { names[++n] = $1 } /^ok/ { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' <<<"$listed")
found=$(grep -c . <<<"$targets" || true)
written=$(xargs -r cat <<<"$files" | grep -cE '^func Fuzz[A-Za-z0-9_]*\(' || true)
if [ "$found" -ne "$written" ]; then
  echo "fuzz.sh: the sources have $written fuzz targets, go test lists $found:" >&2
  echo "$targets" >&2
  exit 1
fi
ran=0
while read -r package target; do
  [ -z "$only" ] || [ "$only" = "$target" ] || continue
  echo "== $package $target"
  go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "$time" 2>&1 | awk '{ print } /no fuzz tests to fuzz/ { missing = 1 } END { exit missing }'
  ran=$((ran + 1))
done <<<"$targets"
if [ "$ran" -eq 0 ]; then
  echo "fuzz.sh: there is no fuzz target ${only:-at all}" >&2
  exit 1
fi
echo "$ran fuzz targets ran for $time each"
