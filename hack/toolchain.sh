#!/usr/bin/env bash
# Selects the Go version that go.mod pins, which has the security fixes, even where GOTOOLCHAIN=local, and downloads it quietly the
# first time. Scripts source this file; the Makefile runs it. TOOLCHAIN=local selects the Go that is installed instead.
toolchain_folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TOOLCHAIN=${TOOLCHAIN:-$(sed -n 's/^toolchain //p' "$toolchain_folder/../go.mod")}
if [ -n "$TOOLCHAIN" ]; then
  export TOOLCHAIN GOTOOLCHAIN=$TOOLCHAIN
  if ! "$toolchain_folder/progress.sh" "Downloading $TOOLCHAIN" go version; then
    echo "To use the Go that is installed, set TOOLCHAIN=local." >&2
    exit 1
  fi
fi
