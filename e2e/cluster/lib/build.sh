# What the cluster is made of, built from source once per version.
# shellcheck shell=bash

build() {
  build_kube
  build_pause
  mkdir -p "$cache/bin"
  printf '#!/bin/sh\nexec "%s" kubectl "$@"\n' "$kube" >"$cache/bin/kubectl.new"
  chmod +x "$cache/bin/kubectl.new" && mv "$cache/bin/kubectl.new" "$cache/bin/kubectl"
}

# Every component in one Go binary: see main.go.
build_kube() {
  [ -x "$kube" ] && return
  command -v go >/dev/null || fail "Go is missing: install Go 1.24 or newer from https://go.dev/dl and put it on the PATH"
  say "building Kubernetes $kubernetes from its Go modules (about 5 minutes the first time, cached in $kube)"
  local version=k8s.io/component-base/version minor=${kubernetes#*.}
  mkdir -p "$(dirname "$kube")"
  (cd "$here" && CGO_ENABLED=0 go build -mod=readonly -trimpath -o "$kube.new" -ldflags "-s -w \
    -X $version.gitVersion=v$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=${minor%.*}" .)
  mv "$kube.new" "$kube"
}

# The container that holds the namespaces of a pod.
build_pause() {
  [ -e "$cache/pause.tar" ] && [ ! "$here/pause.c" -nt "$cache/pause.tar" ] && return
  local folder; folder=$(mktemp -d)
  gcc -O2 -static -o "$folder/pause" "$here/pause.c"
  python3 "$here/image.py" --tag "$pause" --entrypoint /pause --output "$cache/pause.tar" "$folder"
  rm -r "$folder"
}
