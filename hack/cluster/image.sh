#!/usr/bin/env bash
# Makes an image with one static program and nothing else, which runs as user 65532, as an archive of "docker save".
#
#   hack/cluster/image.sh pause.tar localhost/pause:1 bin/pause
set -euo pipefail
out=$(realpath "$1") name=$2 program=$(realpath "$3") file=${3##*/}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
reproducible=(--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner)
tar -c "${reproducible[@]}" -f "$work/layer.tar" -C "$(dirname "$program")" "$file"
architecture=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
cat >"$work/config.json" <<END
{"architecture": "$architecture", "os": "linux", "config": {"Entrypoint": ["/$file"], "User": "65532:65532"},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum "$work/layer.tar" | cut -d' ' -f1)"]}}
END
echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$name\"], \"Layers\": [\"layer.tar\"]}]" >"$work/manifest.json"
tar -c "${reproducible[@]}" -f "$out" -C "$work" manifest.json config.json layer.tar
