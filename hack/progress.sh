#!/usr/bin/env bash
# Runs a command quietly. After two seconds it says what takes so long, and then for how long: each second on a terminal, once a
# minute elsewhere. The command's output is shown only if it fails, without the lines of the Go command about downloads. When a download was
# cut off or its server was in trouble, which the Go command does not try again, the command runs again, three times in all.
#
#   hack/progress.sh "Building the programs" go build ./...
set -uo pipefail
what=$1
shift
output=$(mktemp)
cut_off='https?://.*(stream error|connection reset|connection refused|connection timed out|connection lost|GOAWAY|idle connection|deadline exceeded|TLS handshake timeout|i/o timeout|EOF|: 50[0-9] )'

report() {
  local start=$SECONDS waited=0 said=
  while sleep 1; do # no longer: what sleeps when the command ends keeps standard error open
    waited=$((SECONDS - start))
    if [ "$waited" -lt 2 ]; then
      continue
    elif [ -t 2 ]; then
      printf '\r%s ... %d s' "$what" "$waited" >&2
    elif [ -z "$said" ]; then
      echo "$what ..." >&2
    elif [ $((waited / 60)) -gt "$said" ]; then
      echo "$what ... $((waited / 60)) min" >&2
    fi
    said=$((waited / 60))
  done
}

trap 'exit 130' INT
report &
reporter=$!
trap 'kill "$reporter" 2>/dev/null; rm -f "$output"' EXIT
for attempt in 1 2 3; do
  "$@" >"$output" 2>&1
  status=$?
  if [ "$status" -eq 0 ] || [ "$attempt" -eq 3 ] || ! grep -qE "$cut_off" "$output"; then
    break
  fi
  echo "$what: a download failed, trying again" >&2
  sleep 5
done
kill "$reporter" 2>/dev/null
wait "$reporter" 2>/dev/null
if [ -t 2 ] && [ "$SECONDS" -ge 2 ]; then
  printf '\r%s: %d s     \n' "$what" "$SECONDS" >&2
elif [ "$SECONDS" -ge 60 ]; then
  echo "$what: $SECONDS s" >&2
fi
if [ "$status" -ne 0 ]; then
  echo "$what failed: $*" >&2
  grep -v '^go: downloading ' "$output" >&2
fi
exit "$status"
