# The cluster's network namespace, the processes in it, and their end.
# shellcheck shell=bash

# The namespace has no way out but this veth pair, so no packet of the cluster can leave the machine.
make_network() {
  ip netns add "$namespace"
  ip link add birb0 type veth peer name eth0 netns "$namespace"
  ip addr add "$host/24" dev birb0
  ip link set birb0 up
  ip -n "$namespace" link set lo up
  ip -n "$namespace" addr add "$node/24" dev eth0
  ip -n "$namespace" link set eth0 up
  # Inside, a route must exist before kube-proxy's address translation is asked.
  ip -n "$namespace" route add "$services" dev eth0
  ip route add "$services" via "$node" dev birb0
  ip route add "$pods" via "$node" dev birb0
  nsenter "--net=/run/netns/$namespace" sysctl -qw net.ipv4.ip_forward=1
}

# nsenter and not `ip netns exec`, which remounts /sys and so hides the cgroups from the kubelet.
start() { # NAME COMMAND...
  local name=$1; shift
  nohup nsenter "--net=/run/netns/$namespace" "$@" >"log/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$name.pid"
}

all_alive() {
  local file
  for file in "$run"/*.pid; do kill -0 "$(cat "$file")" 2>/dev/null || return 1; done
}

# Nothing here is worth a graceful end: the data goes, too. Works without any component alive.
remove_all() {
  kill_all
  awk -v folder="$run/" 'index($2, folder) == 1 {print $2}' /proc/mounts | sort -r | xargs -r -n1 umount -l
  remove_cgroups
  ip netns del "$namespace" 2>/dev/null || true
  ip link del birb0 2>/dev/null || true
  rm -rf "$run"
}

# Components and shims live in the network namespace, containers in the cgroups; volume keepers have a pid file.
kill_all() {
  local deadline=$((SECONDS + 20)) left
  while left=$(survivors) && [ -n "$left" ]; do
    # shellcheck disable=SC2086 # a list of process ids
    kill -9 $left 2>/dev/null || true
    ((SECONDS < deadline)) || fail "these processes of the cluster do not end:" "$left"
    sleep 0.1
  done
}

survivors() {
  {
    if [ -e "/run/netns/$namespace" ]; then ip netns pids "$namespace"; fi
    find /sys/fs/cgroup -path "*/$cgroup/*" -name cgroup.procs -exec cat {} + 2>/dev/null
    keeper_of_volumes
  } | sort -un | grep -vx "$$" || true
}

remove_cgroups() {
  find /sys/fs/cgroup -depth -type d \( -path "*/$cgroup" -o -path "*/$cgroup/*" \) -exec rmdir {} + 2>/dev/null || true
}

# The kubelet wants the parent of all its cgroups to exist, in every hierarchy of cgroup v1 or in the one of v2.
make_cgroups() {
  local root
  for root in /sys/fs/cgroup $(awk '$3 == "cgroup" {print $2}' /proc/mounts); do
    if [ -e "$root/cgroup.procs" ]; then make_cgroup "$root"; fi
  done
}

make_cgroup() { # ROOT
  local file controller
  mkdir -p "$1/$cgroup"
  for file in cpuset.cpus cpuset.mems; do # cgroup v1 starts them empty, and then admits no process
    if [ -e "$1/$cgroup/$file" ] && [ ! -s "$1/$cgroup/$file" ]; then cat "$1/$file" >"$1/$cgroup/$file" || true; fi
  done
  [ -e "$1/cgroup.controllers" ] || return 0
  for controller in $(xargs <"$1/cgroup.controllers"); do # cgroup v2 hands on only what it is told to
    echo "+$controller" >"$1/cgroup.subtree_control" || true
  done
}
