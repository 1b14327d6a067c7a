#!/usr/bin/env bash
# Runs every fuzz target of the project for the given time, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
for folder in $(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do
  for target in $(grep -rhoP --include='*_test.go' '^func \KFuzz\w+' "$folder" | sort -u); do
    echo "== $folder $target"
    go test "$folder" -run '^$' -fuzz "^$target\$" -fuzztime "${1:?usage: hack/fuzz.sh DURATION}"
  done
done
