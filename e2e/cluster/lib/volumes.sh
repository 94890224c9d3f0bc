# Storage: no provisioner runs here, so claims of the default class bind to directories made ready beforehand.
# A keeper empties those whose claim has gone and offers them again, as a provisioner would.
# shellcheck shell=bash

start_volumes() {
  make_volumes | kubectl apply -f - >/dev/null
  keep_volumes >log/volumes.log 2>&1 </dev/null 9>&- &
  echo $! >volumes.pid
}

make_volumes() {
  cat <<Y
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: standard, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
Y
  local number
  for number in $(seq "$volumes"); do
    mkdir -p "volumes/local-$number"
    chmod 777 "volumes/local-$number"
    cat <<Y
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: local-$number}
spec:
  storageClassName: standard
  capacity: {storage: 20Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: $run/volumes/local-$number}
Y
  done
}

# The API server ends a watch now and then; the next one begins with what is there.
keep_volumes() {
  local name phase
  trap 'exit 0' TERM
  while [ -e "$run/volumes" ]; do
    while read -r name phase; do
      if [ "$phase" = Released ]; then reclaim "$name"; fi
    done < <(kubectl get pv --watch -o jsonpath='{.metadata.name} {.status.phase}{"\n"}')
    sleep 1
  done
}

# The watch may tell of a release that was dealt with already, and the volume may be in use again: look before emptying.
reclaim() { # NAME
  [ "$(kubectl get pv "$1" -o jsonpath='{.status.phase}')" = Released ] || return 0
  find "$run/volumes/$1" -mindepth 1 -delete
  kubectl patch pv "$1" --type=merge -p '{"spec": {"claimRef": null}}'
}

# The keeper is a shell of this machine's own network: found by its pid file, and only if it still is this script.
keeper_of_volumes() {
  local keeper
  keeper=$(cat "$run/volumes.pid" 2>/dev/null) || return 0
  if tr '\0' ' ' <"/proc/$keeper/cmdline" 2>/dev/null | grep -q "cluster up"; then
    echo "$keeper"
    pgrep -P "$keeper" || true
  fi
}
