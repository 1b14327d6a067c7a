#!/usr/bin/env bash
# Builds the archives of kubectl-mandrill and the manifest for krew into DIST (dist). VERSION and COMMIT come from make.
#
#   hack/archives.sh                         for all platforms
#   CLI_PLATFORMS=linux/amd64 hack/archives.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
export CGO_ENABLED=0
VERSION=${VERSION:-dev}
COMMIT=${COMMIT:-$(git rev-parse HEAD 2>/dev/null || true)}
DIST=${DIST:-dist}
url=${CLI_URL:-https://github.com/mandrill-operator/mandrill-operator/releases/download/$VERSION}
created=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
mkdir -p "$DIST/cli"
manifest=$DIST/cli/mandrill.yaml
sed "s/VERSION/$VERSION/" hack/krew.yaml >"$manifest"
echo '  platforms:' >>"$manifest"
linked=github.com/mandrill-operator/mandrill-operator/version
for platform in ${CLI_PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64}; do
  os=${platform%/*} arch=${platform#*/} program=kubectl-mandrill
  [ "$os" != windows ] || program+=.exe
  folder=$DIST/cli/${os}_$arch
  mkdir -p "$folder"
  GOOS=$os GOARCH=$arch hack/progress.sh "Building kubectl-mandrill for $platform" go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X $linked.version=$VERSION -X $linked.commit=$COMMIT" -o "$folder/$program" ./cmd/kubectl-mandrill
  cp LICENSE "$folder/"
  archive=kubectl-mandrill_${VERSION}_${os}_$arch.tar.gz
  # The same commit makes the same archive.
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$created" -C "$folder" -cf - "$program" LICENSE | gzip -n9 >"$DIST/cli/$archive"
  sum=$(sha256sum "$DIST/cli/$archive" | cut -d' ' -f1)
  cat >>"$manifest" <<END
  - selector: {matchLabels: {os: $os, arch: $arch}}
    uri: $url/$archive
    sha256: $sum
    bin: $program
    files:
    - {from: $program, to: .}
    - {from: LICENSE, to: .}
END
  rm -r "$folder"
done
# krew takes versions of releases only.
if [[ $VERSION =~ ^v[0-9]+\.[0-9]+\.[0-9]+ ]]; then
  hack/progress.sh "Checking the manifest for krew" go tool -modfile=hack/krew/go.mod validate-krew-manifest -manifest "$manifest" -skip-install
fi
(cd "$DIST/cli" && sha256sum ./*.tar.gz >checksums.txt)
echo "archives and the manifest for krew are in $DIST/cli"
