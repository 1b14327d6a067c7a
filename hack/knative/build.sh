#!/usr/bin/env bash
# Builds Knative Eventing with the in-memory channel from its Go module and prints the folder, which has images of its programs, its
# objects in knative.yaml, and in tls.yaml the certificates that its servers need, which cert-manager makes. The folder's name has a hash
# of the pinned modules, so images that are there are up to date. Only what a Broker and a Trigger need is built: no PingSource, JobSink, RequestReply or scaling.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../toolchain.sh"
module=knative.dev/eventing
programs=(webhook controller in_memory/channel_controller in_memory/channel_dispatcher mtchannel_broker broker/ingress broker/filter)
out=$(cd "$here/../.." && pwd)/bin/knative-$(cat "$here"/go.{mod,sum} | sha256sum | cut -c1-12)
version=$(go -C "$here" list -m -f '{{.Version}}' $module)
mkdir -p "$out"
"$here/../progress.sh" "Downloading the module of Knative" go -C "$here" mod download $module
source=$(go -C "$here" list -m -f '{{.Dir}}' $module)

image() { # program
  local name=${1//[\/_]/-}
  [ -e "$out/$name.tar" ] && return
  CGO_ENABLED=0 "$here/../progress.sh" "Building $name of Knative (about 6 minutes for its 7 programs on 2 cores)" \
    go -C "$here" build -trimpath -ldflags "-s -w" -o "$out/$name" "$module/cmd/$1"
  "$here/../cluster/image.sh" "$out/$name.tar.new" "localhost/knative/$name:$version" "$out/$name"
  rm "$out/$name"
  mv "$out/$name.tar.new" "$out/$name.tar"
}

# objects prints the manifests of folders, a namespace first. A Go module has no symbolic links, by which Knative groups them.
objects() { # folder...
  local folder file
  for folder in "$@"; do
    while IFS= read -r file; do
      echo ---
      cat "$source/config/$file"
      echo
    done < <(cd "$source/config" && find "$folder" -name '*.yaml' ! -name '*hpa.yaml' ! -name request-reply.yaml ! -name job-sink.yaml \
      ! -name pingsource-mt-adapter.yaml ! -name 'bundle*.yaml' | sort)
  done
}

# named puts the images into manifests on standard input, and has probes begin after a second instead of 20.
named() {
  local program expressions=()
  for program in "${programs[@]}"; do
    expressions+=(-e "s|ko://$module/cmd/$program\$|localhost/knative/${program//[\/_]/-}:$version|")
  done
  sed "${expressions[@]}" -e 's/initialDelaySeconds: 20/initialDelaySeconds: 1/'
}

for program in "${programs[@]}"; do image "$program"; done
objects core channels/in-memory-channel brokers/mt-channel-broker ../third_party/eventing-integrations-latest | named >"$out/knative.yaml"
objects channels/in-memory-channel-tls brokers/mt-channel-broker-tls ../test/config/tls >"$out/tls.yaml"
echo "$out"
