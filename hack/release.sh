#!/usr/bin/env bash
# Pushes images and chart, makes an SBOM for each image, signs and attests them, and verifies everything as a user does.
#
#   hack/release.sh rehearse    in a temporary folder, with a registry on loopback and a key for this once; needs no network when the
#                               tools are built. It also checks that a changed image and another key are refused.
#   hack/release.sh publish     to IMAGE_PUSH, with the identity of the GitHub workflow that runs it; needs VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
. hack/toolchain.sh
export CGO_ENABLED=0 COSIGN_PASSWORD= VERSION=${VERSION:-dev}
mode=${1:-}
work=$(mktemp -d)
registry=
finish() {
  if [ -n "$registry" ]; then
    kill "$registry" 2>/dev/null || true
    wait "$registry" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap finish EXIT

say() { echo "release: $*" >&2; }
fail() { say "$@"; exit 1; }

# quiet runs a command, and shows its output only if it fails.
quiet() { "$@" >"$work/output" 2>&1 || { cat "$work/output" >&2; fail "failed: $*"; }; }

# refused expects that a command fails with some text.
refused() { # text command...
  local text=$1
  shift
  if "$@" >"$work/output" 2>&1; then
    fail "this should have been refused: $*"
  fi
  grep -q "$text" "$work/output" || { cat "$work/output" >&2; fail "refused for another reason than \"$text\": $*"; }
}

# isVersion reports whether VERSION is a semantic version, which a chart must have.
isVersion() { [[ $VERSION =~ ^v?[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; }

rehearse() {
  isVersion || VERSION=v0.0.0-g$VERSION # of a tree without tags
  export DIST=$work/dist DOCKER_CONFIG=$work/docker TUF_ROOT=$work/tuf HELM_CONFIG_HOME=$work/helm HELM_CACHE_HOME=$work/helm
  hack/progress.sh "Building the image builder" go -C hack/image build -o ../../bin/image .
  bin/image registry -address-file "$work/address" &
  registry=$!
  for _ in $(seq 100); do [ -s "$work/address" ] && break; sleep 0.1; done
  IMAGE_PUSH=$(cat "$work/address")/rehearsal
  export IMAGE_PUSH
  quiet "$cosign" generate-key-pair --output-key-prefix "$work/key"
  quiet "$cosign" generate-key-pair --output-key-prefix "$work/other"
  local offline=(--use-signing-config=false --tlog-upload=false --allow-http-registry --yes)
  sign=("${offline[@]}" --key "$work/key.key")
  checks=(--insecure-ignore-tlog --private-infrastructure --allow-http-registry)
  trust=("${checks[@]}" --key "$work/key.pub")
  helm=(--plain-http)
  builder=https://example.com/rehearsal
}

publish() {
  : "${IMAGE_PUSH:?where to push, such as ghcr.io/mandrill-operator}" "${GITHUB_WORKFLOW_REF:?this runs in a GitHub workflow}"
  isVersion || fail "VERSION is \"$VERSION\", and must be like v1.2.3"
  export DIST=${DIST:-dist}
  builder=https://github.com/$GITHUB_WORKFLOW_REF
  sign=(--yes)
  trust=(--certificate-oidc-issuer https://token.actions.githubusercontent.com --certificate-identity "$builder")
  helm=()
}

# provenance prints an SLSA provenance, https://slsa.dev/spec/v1.0/provenance.
provenance() {
  local commit
  commit=$(git rev-parse HEAD)
  cat <<END
{"buildDefinition": {
   "buildType": "https://github.com/mandrill-operator/mandrill-operator/blob/main/hack/image.sh",
   "externalParameters": {"version": "$VERSION", "architectures": "${IMAGE_ARCHS:-amd64 arm64}"},
   "internalParameters": {"go": "$(go env GOVERSION)"},
   "resolvedDependencies": [{"uri": "git+https://github.com/mandrill-operator/mandrill-operator", "digest": {"gitCommit": "$commit"}}]},
 "runDetails": {"builder": {"id": "$builder"}, "metadata": {"invocationId": "${GITHUB_RUN_ID:-$commit}"}}}
END
}

images() {
  hack/image.sh
  provenance >"$DIST/provenance.json"
  mkdir -p "$DIST/sbom"
  local name arch reference sbom
  while read -r name arch reference; do
    sbom=$DIST/sbom/$name-$arch.cdx.json
    quiet "$cyclonedx" bin -json -std -noserial -notimestamp -version "$VERSION" -output "$sbom" "$DIST/bin/linux_$arch/$name"
    quiet "$cosign" attest "${sign[@]}" --type cyclonedx --predicate "$sbom" "$reference"
  done <"$DIST/platforms.txt"
  while read -r reference; do
    quiet "$cosign" sign "${sign[@]}" --recursive "$reference"
    quiet "$cosign" attest "${sign[@]}" --type slsaprovenance1 --predicate "$DIST/provenance.json" "$reference"
  done <"$DIST/images.txt"
  say "signed and attested $(wc -l <"$DIST/images.txt") images for $(wc -l <"$DIST/platforms.txt") platforms in all"
}

verify() {
  local name arch reference version
  while read -r reference; do
    quiet "$cosign" verify "${trust[@]}" "$reference"
    quiet "$cosign" verify-attestation "${trust[@]}" --type slsaprovenance1 "$reference"
  done <"$DIST/images.txt"
  while read -r name arch reference; do
    quiet "$cosign" verify "${trust[@]}" "$reference"
    quiet "$cosign" verify-attestation "${trust[@]}" --type cyclonedx "$reference"
  done <"$DIST/platforms.txt"
  for name in operator receiver mandrill-emulator kubectl-mandrill; do
    version=$("$DIST/bin/linux_$(go env GOHOSTARCH)/$name" --version)
    [[ $version == "$name $VERSION (commit "* ]] || fail "$name --version says \"$version\""
  done
  say "verified signatures, provenance, SBOMs and versions"
}

# attack checks that verification refuses what it should.
attack() {
  local reference changed
  reference=$(grep /receiver: "$DIST/images.txt")
  changed=$IMAGE_PUSH/receiver:changed
  quiet bin/image tamper "$reference" "$changed"
  refused "$1" "$cosign" verify "${trust[@]}" "$changed"
  refused "$2" "$cosign" verify "${checks[@]}" --key "$work/other.pub" "$reference"
  say "a changed image and another key are refused"
}

chart() {
  local folder=charts/mandrill-operator tool package reference pulled program
  if [ ! -d $folder ]; then
    say "there is no $folder, so no chart"
    return
  fi
  tool=$(hack/tool.sh --path helm)
  # Who installs the chart of a release gets the images of the release.
  mkdir -p "$work/source"
  cp -R $folder "$work/source"
  folder=$work/source/mandrill-operator
  sed -i "s|^  registry: \"\"\$|  registry: $IMAGE_PUSH|" "$folder/values.yaml"
  quiet "$tool" package "$folder" --version "${VERSION#v}" --app-version "$VERSION" --destination "$work/chart"
  package=$(echo "$work"/chart/*.tgz)
  quiet "$tool" push "$package" "oci://$IMAGE_PUSH/charts" "${helm[@]}"
  reference=$IMAGE_PUSH/charts/mandrill-operator@$(sed -n 's/^Digest: *//p' "$work/output")
  quiet "$cosign" sign "${sign[@]}" "$reference"
  quiet "$cosign" verify "${trust[@]}" "$reference"
  quiet "$tool" pull "oci://$IMAGE_PUSH/charts/mandrill-operator" --version "${VERSION#v}" --destination "$work" "${helm[@]}"
  pulled=$work/$(basename "$package")
  cmp "$package" "$pulled" || fail "the chart that was pulled is another"
  "$tool" template mandrill-operator "$pulled" >"$work/rendered"
  for program in operator receiver; do
    grep -q "image: $IMAGE_PUSH/$program:$VERSION\$" "$work/rendered" || fail "the chart that was pulled does not have the image $IMAGE_PUSH/$program:$VERSION"
  done
  echo "$reference" >>"$DIST/images.txt"
  say "pushed, signed and pulled the chart"
}

case $mode in
  rehearse | publish) ;;
  *) fail "say rehearse or publish" ;;
esac
cosign=$(hack/tool.sh --path cosign)
cyclonedx=$(hack/tool.sh --path cyclonedx-gomod)
"$mode"
images
verify
if [ "$mode" = rehearse ]; then
  attack "no signatures found\|no matching" "no matching\|invalid signature"
fi
chart
cat "$DIST/images.txt"
