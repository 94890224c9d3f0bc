# The node: containerd, the kubelet, kube-proxy and what enforces NetworkPolicies.
# shellcheck shell=bash

start_node() {
  make_cgroups
  start_containerd
  start_kubelet
  start_proxy
  start_policies
  until_true 60 kubectl get node node1
}

start_containerd() {
  mkdir -p containerd cni
  cat >containerd/config.toml <<Y
version = 2
root = "$run/containerd/root"
state = "$run/containerd/state"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause"
  restrict_oom_score_adj = true           # without CAP_SYS_RESOURCE runc cannot lower it, and dies
  netns_mounts_under_state_dir = true     # so that the network namespaces of pods end with the folder
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
Y
  # ptp and not bridge: where br_netfilter is missing, a bridge hands a Service's replies past conntrack.
  cat >cni/10-pods.conflist <<Y
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "$run/ipam",
    "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
Y
  start containerd containerd -c containerd/config.toml
  until_true 30 ctr version
  ctr images import "$cache/pause.tar" >/dev/null
}

start_kubelet() {
  cat >kubelet.yaml <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $run/pki/ca.crt}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$run/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [$node]
resolvConf: /dev/null
tlsCertFile: $run/pki/kubelet.crt
tlsPrivateKeyFile: $run/pki/kubelet.key
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi}
Y
  start kubelet "$kube" kubelet --config=kubelet.yaml --kubeconfig=kubelet.kubeconfig --hostname-override=node1 \
    --node-ip="$node" --root-dir="$run/kubelet" --cert-dir="$run/pki"
}

start_proxy() {
  cat >proxy.yaml <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $run/proxy.kubeconfig}
hostnameOverride: node1
clusterCIDR: $pods
conntrack: {maxPerCore: 0}
Y
  start proxy "$kube" kube-proxy --config=proxy.yaml
}

start_policies() { start policies "$kube" network-policies --kubeconfig=policies.kubeconfig --pods="$pods"; }
