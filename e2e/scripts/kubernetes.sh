# What `up`, `down` and `test` know of a cluster with BirbNest in it. Sourced after common.sh.
# shellcheck shell=bash

system=birbnest-system
forward=$repository/target/port-forward

demo() { kubectl --namespace birbnest-demo "$@"; }

# This machine reaches the Services of the one-node cluster; another cluster's through a port that is forwarded.
find_the_api() {
  if [ "${CLUSTER:-}" != current ]; then
    api=http://$(demo get service quickstart-api -o jsonpath='{.spec.clusterIP}')
    return
  fi
  end_forward
  mkdir -p "$(dirname "$forward")"
  kubectl --namespace birbnest-demo port-forward service/quickstart-api :80 >"$forward.log" 2>&1 </dev/null &
  echo $! >"$forward.pid"
  until_true 30 grep -q 'Forwarding from 127' "$forward.log"
  api=http://$(sed -n 's/^Forwarding from \(127.0.0.1:[0-9]*\) .*/\1/p' "$forward.log" | head -n 1)
}

end_forward() {
  local id
  if id=$(cat "$forward.pid" 2>/dev/null) && grep -q port-forward "/proc/$id/cmdline" 2>/dev/null; then kill "$id"; fi
  rm -f "$forward.pid"
}

# Everything a person would ask for first, when something did not come up.
show_what_is_there() {
  trap - EXIT
  {
    say "this did not work; what is there:"
    kubectl get pods --all-namespaces -o wide
    kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -n 40
    kubectl describe nest --all-namespaces
    kubectl --namespace "$system" logs -l app.kubernetes.io/name=birbnest-operator --tail=40 --prefix
    local pod
    for pod in $(demo get pods -o json | jq -r '.items[] | select(any(.status.containerStatuses[]?; .ready | not)) | .metadata.name'); do
      say "the last words of $pod"
      demo logs "$pod" --all-containers --tail=20
    done
  } >&2 || true
}
