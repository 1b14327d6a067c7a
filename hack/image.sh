#!/usr/bin/env bash
# Builds the programs and their images into DIST (dist), and pushes them if IMAGE_PUSH is set. No Docker is needed. It reads from
# the environment what make image hands on: VERSION, IMAGE_REPO, IMAGE_ARCHS and IMAGE_PUSH. SOURCE_DATE_EPOCH replaces the time of
# the commit as the images' time of creation.
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
export CGO_ENABLED=0
VERSION=${VERSION:-dev}
IMAGE_ARCHS=${IMAGE_ARCHS:-amd64 arm64}
DIST=${DIST:-dist}
commit=$(git rev-parse HEAD 2>/dev/null || true)
created=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
for arch in $IMAGE_ARCHS; do
  GOOS=linux GOARCH=$arch make --no-print-directory build VERSION="$VERSION" BIN="$DIST/bin/linux_$arch"
done
hack/progress.sh "Building the image builder" go -C hack/image build -o ../../bin/image .
exec bin/image build -version "$VERSION" -commit "$commit" -created "$created" -repo "${IMAGE_REPO:-mandrill-operator.io}" \
  -archs "$IMAGE_ARCHS" -push "${IMAGE_PUSH:-}" -binaries "$DIST/bin" -out "$DIST"
