# How an image reaches a cluster: the one-node cluster of this folder imports the archive; another cluster gets it the
# way it wants (kind, k3d, minikube), or through the registry that IMAGE_REPOSITORY names.
# shellcheck shell=bash

deliver() { # IMAGE ARCHIVE
  if [ "${CLUSTER:-}" != current ]; then
    "$here/../cluster/cluster" load "$(basename "$2" .tar)" "$2"
    return
  fi
  local context; context=$(kubectl config current-context)
  case $context in
    kind-*) once "$context" "$2" kind load image-archive "$2" --name "${context#kind-}" ;;
    k3d-*) once "$context" "$2" k3d image import "$2" --cluster "${context#k3d-}" ;;
    minikube) once "$context" "$2" minikube image load "$2" ;;
    *) once "$1" "$2" push_to_registry "$1" "$2" ;;
  esac
}

push_to_registry() { # IMAGE ARCHIVE
  [ -n "${IMAGE_REPOSITORY:-}" ] || fail "say with IMAGE_REPOSITORY=registry/path where this cluster pulls images from"
  buildah_here push --quiet "docker-archive:$2" "docker://$1"
}

# Remembers in a file what a cluster was given.
once() { # WHERE ARCHIVE COMMAND...
  local mark; mark=$images/given/${1//[^a-zA-Z0-9.-]/_}-$(basename "$2")
  [ -e "$mark" ] && return
  "${@:3}"
  mkdir -p "$images/given" && touch "$mark"
}
